// Request traces recorded elsewhere: arrival times and lengths, read from a file.
// Two formats, told apart by their first line: CSV of the Azure LLM inference traces
// (TIMESTAMP,ContextTokens,GeneratedTokens; "2023-11-16 18:15:46.6805900,374,44") and JSON lines of the Mooncake traces
// ({"timestamp": milliseconds, "input_length": n, "output_length": n, ...}).
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_TRACE_FILE_H_
#define RATION_CLIENT_BENCH_TRACE_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

struct TraceEntry {
  double seconds = 0;         // since the first entry
  int64_t prompt_tokens = 0;  // >= 0
  int64_t output_tokens = 0;  // >= 0
};

// Entries in order of arrival (those of equal times in the file's order). `name` is the file's, for messages.
// InvalidArgument names file, line and problem; a trace without entries is one.
absl::StatusOr<std::vector<TraceEntry>> ParseTrace(absl::string_view content, absl::string_view name);

// NotFound or another code of the operating system's if `path` cannot be read; InvalidArgument if it is too large (1
// GiB).
absl::StatusOr<std::vector<TraceEntry>> ReadTrace(const std::string& path);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_TRACE_FILE_H_
