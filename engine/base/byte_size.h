// Sizes in bytes as people write them: "256MiB", "1.5GiB", "4096". Used by flags and messages.
#ifndef RATION_ENGINE_BASE_BYTE_SIZE_H_
#define RATION_ENGINE_BASE_BYTE_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

// Accepts a non-negative decimal number and an optional suffix: B, KB MB GB TB (powers of 1000), KiB MiB GiB TiB (powers of
// 1024; K, M, G, T mean the same), upper or lower case. InvalidArgument quotes what was given.
absl::StatusOr<int64_t> ParseByteSize(absl::string_view text);

// Three significant digits and a binary suffix, e.g. "1.50 MiB", "512 B".
std::string FormatByteSize(int64_t bytes);

}  // namespace ration

#endif  // RATION_ENGINE_BASE_BYTE_SIZE_H_
