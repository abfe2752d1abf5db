// The figures of a run, from its records. Definitions as in vLLM's serving benchmark (docs/benchmarking.md):
//   TTFT   first token - intended arrival
//   TPOT   (last token - first token) / (tokens - 1), a request; requests of one token have none
//   ITL    every gap between two messages with tokens
//   E2E    last token - intended arrival
// Only completed requests count, and not those that read slowly on purpose.
// Not here: how the figures are shown (report_text.h, report_json.h).
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_LATENCY_REPORT_H_
#define RATION_CLIENT_BENCH_LATENCY_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "client/bench/request_record.h"
#include "client/bench/statistics.h"
#include "client/bench/timeline.h"

namespace ration {

// Service level: a request is good if it completed within all limits that are set.
struct Slo {
  std::optional<double> ttft_ms;  // > 0
  std::optional<double> tpot_ms;  // > 0
  std::optional<double> e2e_ms;   // > 0
  bool empty() const { return !ttft_ms.has_value() && !tpot_ms.has_value() && !e2e_ms.has_value(); }
};

// Errors alike, numbers in their messages aside.
struct ErrorCount {
  Outcome outcome = Outcome::kFailed;
  std::string code;     // gRPC's name
  std::string message;  // of the first
  int64_t count = 0;
};

struct Report {
  double seconds = 0;
  int64_t sent = 0;
  int64_t completed = 0;
  int64_t rejected = 0;
  int64_t failed = 0;
  int64_t cancelled = 0;
  int64_t interrupted = 0;
  int64_t clipped = 0;  // of those sent
  int64_t slow_readers = 0;
  std::vector<ErrorCount> errors;  // the most frequent first; at most 20 kinds, the rest under one

  int64_t prompt_tokens = 0;       // of completed requests
  int64_t generated_tokens = 0;    // received, of all requests
  double requests_per_second = 0;  // completed
  double generated_tokens_per_second = 0;
  double total_tokens_per_second = 0;  // prompt tokens of completed requests and all generated

  Slo slo;
  int64_t good = 0;
  double goodput_per_second = 0;

  // In seconds.
  Distribution ttft;
  Distribution tpot;
  Distribution itl;
  Distribution e2e;
  Distribution queue;     // as the server tells
  Distribution outside;   // sent to last token received, less what the server says: the way and this program's reading
  Distribution send_lag;  // sent - intended, of all requests: what this program itself was late
  // What this program was late at p99, sending or reading, if that is much of the median E2E.
  std::optional<double> generator_lag_seconds;

  // From the accounting of completed requests.
  int64_t accounted = 0;
  int64_t peak_request_kv_bytes = 0;  // of one request
  double mean_kv_fraction = 0;        // bytes stored / bytes of full KV, of all together
  std::vector<double> tokens_per_expert;
  int64_t tokens_regrouped = 0;
  std::vector<int32_t> group_sizes;  // one an expert, if known

  std::optional<TimelineSummary> state;
};

Report MakeReport(absl::Span<const RequestRecord> records, double seconds, const Slo& slo);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_LATENCY_REPORT_H_
