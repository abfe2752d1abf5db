// Layer: client/bench.
#include "client/bench/timeline.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ration {

StateSample MakeSample(const v1::ServerState& state, double seconds, const StateSample* before) {
  StateSample sample;
  sample.seconds = seconds;
  sample.pressure = state.pressure();
  sample.used_bytes = state.used_bytes();
  sample.budget_bytes = state.budget_bytes();
  sample.kv_fraction = state.kv_fraction();
  sample.realised_kv_fraction = state.realised_kv_fraction();
  sample.running = state.requests_running();
  sample.waiting = state.requests_waiting();
  sample.generated_tokens = state.generated_tokens();
  sample.preemptions = state.preemptions();
  sample.regrouped_tokens = state.regrouped_tokens();
  if (before != nullptr && seconds > before->seconds) {
    sample.tokens_per_second =
        static_cast<double>(sample.generated_tokens - before->generated_tokens) / (seconds - before->seconds);
  }
  return sample;
}

TimelineSummary Summarize(absl::Span<const StateSample> samples) {
  TimelineSummary summary;
  if (samples.empty()) return summary;
  summary.samples = static_cast<int64_t>(samples.size());
  summary.min_realised_kv_fraction = 1;
  for (const StateSample& sample : samples) {
    summary.peak_pressure = std::max(summary.peak_pressure, sample.pressure);
    summary.mean_pressure += sample.pressure / static_cast<double>(samples.size());
    summary.peak_used_bytes = std::max(summary.peak_used_bytes, sample.used_bytes);
    // Without tokens there is nothing realised.
    if (sample.realised_kv_fraction > 0) {
      summary.min_realised_kv_fraction = std::min(summary.min_realised_kv_fraction, sample.realised_kv_fraction);
    }
    summary.peak_running = std::max(summary.peak_running, sample.running);
    summary.peak_waiting = std::max(summary.peak_waiting, sample.waiting);
    if (sample.used_bytes > sample.budget_bytes) ++summary.samples_over_budget;
  }
  summary.budget_bytes = samples.back().budget_bytes;
  summary.preemptions = samples.back().preemptions - samples.front().preemptions;
  summary.regrouped_tokens = samples.back().regrouped_tokens - samples.front().regrouped_tokens;
  return summary;
}

std::string TimelineCsv(absl::Span<const StateSample> samples) {
  std::string csv =
      "seconds,pressure,used_bytes,budget_bytes,kv_fraction,realised_kv_fraction,running,waiting,tokens_per_second\n";
  for (const StateSample& sample : samples) {
    absl::StrAppendFormat(&csv, "%.3f,%.6f,%d,%d,%.6f,%.6f,%d,%d,%.1f\n", sample.seconds, sample.pressure,
                          sample.used_bytes, sample.budget_bytes, sample.kv_fraction, sample.realised_kv_fraction,
                          sample.running, sample.waiting, sample.tokens_per_second);
  }
  return csv;
}

absl::Status WriteFile(const std::string& path, absl::string_view content) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot create ", path));
  const bool written = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  const int write_error = errno;
  if (std::fclose(file) == 0 && written) return absl::OkStatus();
  return absl::ErrnoToStatus(written ? errno : write_error, absl::StrCat("cannot write ", path));
}

}  // namespace ration
