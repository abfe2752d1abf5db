// Reads a file given by the user, of limited size.
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_INPUT_FILE_H_
#define RATION_CLIENT_BENCH_INPUT_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace ration {

// The whole content. The operating system's error with the path, or InvalidArgument if there are more than `max_bytes`.
absl::StatusOr<std::string> ReadInputFile(const std::string& path, int64_t max_bytes);

// The beginning of a text, at most `max_bytes` and no piece of a UTF-8 character. The operating system's error with the
// path.
absl::StatusOr<std::string> ReadTextBeginning(const std::string& path, int64_t max_bytes);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_INPUT_FILE_H_
