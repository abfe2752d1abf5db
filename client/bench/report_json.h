// A report as JSON for scripts: one object on one line.
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_REPORT_JSON_H_
#define RATION_CLIENT_BENCH_REPORT_JSON_H_

#include <string>

#include "client/bench/latency_report.h"

namespace ration {

// {"seconds", "requests": {"sent", "completed", "rejected", "failed", "cancelled", "interrupted", "clipped",
// "slow_readers"},
//  "errors": [{"outcome": "rejected"|"failed", "code", "message", "count"}],
//  "tokens": {"prompt", "generated"}, "throughput": {"requests_per_second", "generated_tokens_per_second",
//  "total_tokens_per_second"}, "goodput": {"ttft_ms"?, "tpot_ms"?, "e2e_ms"?, "good_requests", "requests_per_second"}?,
//  "ttft_seconds" | "tpot_seconds" | "itl_seconds" | "e2e_seconds" | "queue_seconds" | "send_lag_seconds":
//      {"count", "mean", "p50", "p90", "p95", "p99", "max"},
//  "kv": {"accounted_requests", "peak_request_bytes", "mean_fraction", "tokens_per_expert": [], "group_sizes": [],
//  "tokens_regrouped"}, "state": {"samples", "peak_used_bytes", "budget_bytes", "samples_over_budget", "mean_pressure",
//  "peak_pressure",
//            "min_realised_kv_fraction", "peak_running", "peak_waiting", "preemptions", "regrouped_tokens"}?}
std::string ReportJson(const Report& report);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_REPORT_JSON_H_
