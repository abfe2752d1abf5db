// What is asked for: a sequence of requests, each with its arrival time and its lengths, drawn at random or taken from
// a trace, and made to fit the model's context. Not here: the prompts' tokens (prompt_source.h), sending
// (load_runner.h).
// Layer: client/bench. Thread-compatible.
#ifndef RATION_CLIENT_BENCH_WORKLOAD_H_
#define RATION_CLIENT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/bench/arrival_process.h"
#include "client/bench/trace_file.h"

namespace ration {

struct PlannedRequest {
  double arrival_seconds = 0;  // since the start of the run; 0 in a closed loop
  int64_t prompt_tokens = 1;   // >= 1
  int64_t output_tokens = 1;   // >= 1
  bool clipped = false;        // shorter than wanted, to fit the context
};

// Both ends included. 1 <= low <= high.
struct LengthRange {
  int64_t low = 1;
  int64_t high = 1;
};

// "128" or "64-256". InvalidArgument names the limit and the value.
absl::StatusOr<LengthRange> ParseLengthRange(absl::string_view text);

// Lengths that fit a context of `context_tokens` >= 2 together, each at least 1: the output gets at most half of the
// context, and the prompt what is then left. Thus a trace of long prompts does not turn into one without outputs.
PlannedRequest FitContext(PlannedRequest request, int64_t context_tokens);

class Workload {
 public:
  virtual ~Workload() = default;
  // The next request, in order of arrival; absent when there are no more.
  virtual std::optional<PlannedRequest> Next() = 0;
};

struct SyntheticOptions {
  std::optional<ArrivalProcess::Options> arrivals;  // absent: closed loop
  LengthRange prompt_tokens;
  LengthRange output_tokens;
  int64_t context_tokens = 2;           // >= 2
  std::optional<int64_t> max_requests;  // >= 0; absent: endless
  uint64_t seed = 0;
};
std::unique_ptr<Workload> MakeSyntheticWorkload(const SyntheticOptions& options);

struct TraceOptions {
  double speedup = 1;          // > 0; arrival times are divided by it
  double length_scale = 1;     // > 0; lengths are multiplied by it and rounded
  int64_t context_tokens = 2;  // >= 2
  std::optional<int64_t> max_requests;
};
std::unique_ptr<Workload> MakeTraceWorkload(std::vector<TraceEntry> entries, const TraceOptions& options);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_WORKLOAD_H_
