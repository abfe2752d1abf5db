// The server's state over the run: samples, their summary, and a CSV file of them.
// Not here: how they are got (state_sampler.h), the picture (plot.h).
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_TIMELINE_H_
#define RATION_CLIENT_BENCH_TIMELINE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "proto/control.pb.h"

namespace ration {

struct StateSample {
  double seconds = 0;  // since the start of the run
  double pressure = 0;
  int64_t used_bytes = 0;
  int64_t budget_bytes = 0;
  double kv_fraction = 0;  // requested for new tokens
  double realised_kv_fraction = 0;
  int64_t running = 0;
  int64_t waiting = 0;
  // Counters since the server's start.
  int64_t generated_tokens = 0;
  int64_t preemptions = 0;
  int64_t regrouped_tokens = 0;
  // Generated since the sample before, a second; 0 for the first.
  double tokens_per_second = 0;
};

// `before` may be null.
StateSample MakeSample(const v1::ServerState& state, double seconds, const StateSample* before);

struct TimelineSummary {
  int64_t samples = 0;
  double peak_pressure = 0;
  double mean_pressure = 0;
  int64_t peak_used_bytes = 0;
  int64_t budget_bytes = 0;  // the last
  double min_realised_kv_fraction = 0;
  int64_t peak_running = 0;
  int64_t peak_waiting = 0;
  // During the run.
  int64_t preemptions = 0;
  int64_t regrouped_tokens = 0;
  int64_t samples_over_budget = 0;  // of them with used > budget; anything but 0 is a server's bug
};
TimelineSummary Summarize(absl::Span<const StateSample> samples);

// "seconds,pressure,used_bytes,budget_bytes,kv_fraction,realised_kv_fraction,running,waiting,tokens_per_second", one
// line a sample.
std::string TimelineCsv(absl::Span<const StateSample> samples);

// The operating system's error with the path if it cannot be written.
absl::Status WriteFile(const std::string& path, absl::string_view content);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_TIMELINE_H_
