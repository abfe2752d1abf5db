// Layer: client/bench.
#include "client/bench/latency_report.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"

namespace ration {
namespace {

constexpr size_t kMaxErrorKinds = 20;
// The load generator fell behind if it was late by more than this share of the median end to end latency.
constexpr double kMuchOfLatency = 0.1;

// Numbers, with their units, become one '#': "after 993ms with 12 of 64 tokens" and "after 1.02s with 7 of 64" are
// alike.
std::string Pattern(absl::string_view message) {
  std::string pattern;
  bool in_number = false;
  for (char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    const bool digit = absl::ascii_isdigit(byte);
    if (digit && !in_number) pattern.push_back('#');
    in_number = digit || (in_number && (c == '.' || absl::ascii_isalpha(byte)));
    if (!in_number) pattern.push_back(c);
  }
  return pattern;
}

class ErrorCounter {
 public:
  void Add(const RequestRecord& record) {
    const auto key = std::make_tuple(record.outcome, record.status.code(), Pattern(record.status.message()));
    const auto found = kinds_.find(key);
    if (found != kinds_.end()) {
      ++found->second.count;
    } else if (kinds_.size() < kMaxErrorKinds) {
      kinds_[key] = {record.outcome, absl::StatusCodeToString(record.status.code()),
                     std::string(record.status.message()), 1};
    } else {
      ++others_;
    }
  }

  std::vector<ErrorCount> Take() {
    std::vector<ErrorCount> errors;
    for (auto& [key, kind] : kinds_) errors.push_back(std::move(kind));
    std::stable_sort(errors.begin(), errors.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
    if (others_ > 0) errors.push_back({Outcome::kFailed, "OTHER", "errors of further kinds", others_});
    return errors;
  }

 private:
  std::map<std::tuple<Outcome, absl::StatusCode, std::string>, ErrorCount> kinds_;
  int64_t others_ = 0;
};

// Sums of what the server told with each finish.
class KvSums {
 public:
  void Add(const v1::KvAccounting& kv, Report& report) {
    ++report.accounted;
    report.peak_request_kv_bytes = std::max(report.peak_request_kv_bytes, kv.peak_bytes());
    stored_bytes_ += static_cast<double>(kv.stored_bytes());
    full_bytes_ += static_cast<double>(kv.full_bytes());
    report.tokens_regrouped += kv.tokens_regrouped();
    AddTokens(kv.prompt_tokens_per_expert(), report.tokens_per_expert);
    AddTokens(kv.generated_tokens_per_expert(), report.tokens_per_expert);
    if (full_bytes_ > 0) report.mean_kv_fraction = stored_bytes_ / full_bytes_;
  }

 private:
  template <typename Repeated>
  static void AddTokens(const Repeated& tokens, std::vector<double>& sums) {
    if (sums.size() < static_cast<size_t>(tokens.size())) sums.resize(static_cast<size_t>(tokens.size()));
    for (int i = 0; i < tokens.size(); ++i) sums[static_cast<size_t>(i)] += tokens[i];
  }
  double stored_bytes_ = 0;
  double full_bytes_ = 0;
};

struct Latencies {
  double ttft = 0;
  double tpot = 0;  // 0 for one token
  double e2e = 0;
};

Latencies LatenciesOf(const RequestRecord& record) {
  Latencies latencies;
  latencies.ttft = *record.first_token_seconds - record.intended_seconds;
  latencies.e2e = record.last_token_seconds - record.intended_seconds;
  if (record.generated_tokens > 1) {
    latencies.tpot = (latencies.e2e - latencies.ttft) / static_cast<double>(record.generated_tokens - 1);
  }
  return latencies;
}

bool Meets(const Latencies& latencies, const Slo& slo) {
  const auto within = [](double seconds, const std::optional<double>& limit_ms) {
    return !limit_ms.has_value() || seconds * 1000 <= *limit_ms;
  };
  return within(latencies.ttft, slo.ttft_ms) && within(latencies.tpot, slo.tpot_ms) &&
         within(latencies.e2e, slo.e2e_ms);
}

void Count(const RequestRecord& record, Report& report) {
  ++report.sent;
  if (record.clipped) ++report.clipped;
  if (record.slow_reader) ++report.slow_readers;
  report.generated_tokens += record.generated_tokens;
  switch (record.outcome) {
    case Outcome::kCompleted:
      ++report.completed;
      report.prompt_tokens += record.prompt_tokens;
      break;
    case Outcome::kRejected:
      ++report.rejected;
      break;
    case Outcome::kFailed:
      ++report.failed;
      break;
    case Outcome::kCancelled:
      ++report.cancelled;
      break;
    case Outcome::kInterrupted:
      ++report.interrupted;
      break;
  }
}

}  // namespace

Report MakeReport(absl::Span<const RequestRecord> records, double seconds, const Slo& slo) {
  Report report;
  report.seconds = seconds;
  report.slo = slo;
  ErrorCounter errors;
  KvSums kv;
  std::vector<double> ttft, tpot, itl, e2e, queue, outside, send_lag;
  for (const RequestRecord& record : records) {
    Count(record, report);
    send_lag.push_back(record.sent_seconds - record.intended_seconds);
    if (record.outcome == Outcome::kRejected || record.outcome == Outcome::kFailed) errors.Add(record);
    if (record.outcome != Outcome::kCompleted) continue;
    if (record.finish.has_value()) {
      queue.push_back(record.finish->queue_seconds());
      if (record.finish->has_kv()) kv.Add(record.finish->kv(), report);
    }
    if (record.slow_reader || !record.first_token_seconds.has_value()) continue;
    const Latencies latencies = LatenciesOf(record);
    ttft.push_back(latencies.ttft);
    e2e.push_back(latencies.e2e);
    if (record.finish.has_value()) {
      outside.push_back(std::max(0.0, record.last_token_seconds - record.sent_seconds - record.finish->total_seconds()));
    }
    if (record.generated_tokens > 1) tpot.push_back(latencies.tpot);
    itl.insert(itl.end(), record.gaps_seconds.begin(), record.gaps_seconds.end());
    if (Meets(latencies, slo)) ++report.good;
  }
  report.errors = errors.Take();
  report.ttft = Describe(std::move(ttft));
  report.tpot = Describe(std::move(tpot));
  report.itl = Describe(std::move(itl));
  report.e2e = Describe(std::move(e2e));
  report.queue = Describe(std::move(queue));
  report.outside = Describe(std::move(outside));
  report.send_lag = Describe(std::move(send_lag));
  const double lag = std::max(report.outside.p99, report.send_lag.p99);
  if (report.e2e.count > 0 && lag > kMuchOfLatency * report.e2e.p50) report.generator_lag_seconds = lag;
  if (seconds > 0) {
    report.requests_per_second = static_cast<double>(report.completed) / seconds;
    report.generated_tokens_per_second = static_cast<double>(report.generated_tokens) / seconds;
    report.total_tokens_per_second = static_cast<double>(report.prompt_tokens + report.generated_tokens) / seconds;
    report.goodput_per_second = static_cast<double>(report.good) / seconds;
  }
  return report;
}

}  // namespace ration
