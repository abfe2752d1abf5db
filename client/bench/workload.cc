// Lengths are drawn apart from arrival times, so that either may change without the other.
// Layer: client/bench.
#include "client/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace ration {
namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 40;

class SyntheticWorkload final : public Workload {
 public:
  explicit SyntheticWorkload(const SyntheticOptions& options) : options_(options), random_(options.seed) {
    if (options.arrivals.has_value()) arrivals_.emplace(*options.arrivals);
  }

  std::optional<PlannedRequest> Next() override {
    if (options_.max_requests.has_value() && given_ >= *options_.max_requests) return std::nullopt;
    ++given_;
    PlannedRequest request;
    if (arrivals_.has_value()) request.arrival_seconds = arrivals_->NextSeconds();
    request.prompt_tokens = Draw(options_.prompt_tokens);
    request.output_tokens = Draw(options_.output_tokens);
    return FitContext(request, options_.context_tokens);
  }

 private:
  int64_t Draw(const LengthRange& range) {
    return std::uniform_int_distribution<int64_t>(range.low, range.high)(random_);
  }

  const SyntheticOptions options_;
  std::mt19937_64 random_;
  std::optional<ArrivalProcess> arrivals_;
  int64_t given_ = 0;
};

class TraceWorkload final : public Workload {
 public:
  TraceWorkload(std::vector<TraceEntry> entries, const TraceOptions& options)
      : entries_(std::move(entries)), options_(options) {
    if (options.max_requests.has_value() && *options.max_requests < static_cast<int64_t>(entries_.size())) {
      entries_.resize(static_cast<size_t>(*options.max_requests));
    }
  }

  std::optional<PlannedRequest> Next() override {
    if (next_ == entries_.size()) return std::nullopt;
    const TraceEntry& entry = entries_[next_++];
    PlannedRequest request;
    request.arrival_seconds = entry.seconds / options_.speedup;
    request.prompt_tokens = Scaled(entry.prompt_tokens);
    request.output_tokens = Scaled(entry.output_tokens);
    return FitContext(request, options_.context_tokens);
  }

 private:
  int64_t Scaled(int64_t tokens) const {
    const double scaled = std::round(static_cast<double>(tokens) * options_.length_scale);
    return static_cast<int64_t>(std::clamp(scaled, 1.0, static_cast<double>(kMaxTokens)));
  }

  std::vector<TraceEntry> entries_;
  const TraceOptions options_;
  size_t next_ = 0;
};

}  // namespace

absl::StatusOr<LengthRange> ParseLengthRange(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> ends = absl::StrSplit(text, absl::MaxSplits('-', 1));
  const bool one_number = text.find('-') == absl::string_view::npos;
  const absl::string_view high = one_number ? ends.first : ends.second;
  LengthRange range;
  if (!absl::SimpleAtoi(ends.first, &range.low) || !absl::SimpleAtoi(high, &range.high) || range.low < 1 ||
      range.high < range.low || range.high > kMaxTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("must be N or LOW-HIGH with 1 <= LOW <= HIGH <= ", kMaxTokens, ", not \"", text, "\""));
  }
  return range;
}

PlannedRequest FitContext(PlannedRequest request, int64_t context_tokens) {
  const int64_t prompt = std::max<int64_t>(request.prompt_tokens, 1);
  const int64_t output = std::max<int64_t>(request.output_tokens, 1);
  request.prompt_tokens = prompt;
  request.output_tokens = output;
  if (prompt <= context_tokens - output) return request;
  request.output_tokens = std::min(output, std::max<int64_t>(context_tokens / 2, context_tokens - prompt));
  request.prompt_tokens = std::min(prompt, context_tokens - request.output_tokens);
  request.clipped = true;
  return request;
}

std::unique_ptr<Workload> MakeSyntheticWorkload(const SyntheticOptions& options) {
  return std::make_unique<SyntheticWorkload>(options);
}

std::unique_ptr<Workload> MakeTraceWorkload(std::vector<TraceEntry> entries, const TraceOptions& options) {
  return std::make_unique<TraceWorkload>(std::move(entries), options);
}

}  // namespace ration
