// Layer: client/bench.
#include "client/bench/report_json.h"

#include <nlohmann/json.hpp>

namespace ration {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const Distribution& distribution) {
  return {{"count", distribution.count}, {"mean", distribution.mean}, {"p50", distribution.p50},
          {"p90", distribution.p90},     {"p95", distribution.p95},   {"p99", distribution.p99},
          {"max", distribution.max}};
}

Json Goodput(const Report& report) {
  Json json = Json::object();
  if (report.slo.ttft_ms.has_value()) json["ttft_ms"] = *report.slo.ttft_ms;
  if (report.slo.tpot_ms.has_value()) json["tpot_ms"] = *report.slo.tpot_ms;
  if (report.slo.e2e_ms.has_value()) json["e2e_ms"] = *report.slo.e2e_ms;
  json["good_requests"] = report.good;
  json["requests_per_second"] = report.goodput_per_second;
  return json;
}

Json ToJson(const TimelineSummary& state) {
  return {{"samples", state.samples},
          {"peak_used_bytes", state.peak_used_bytes},
          {"budget_bytes", state.budget_bytes},
          {"samples_over_budget", state.samples_over_budget},
          {"mean_pressure", state.mean_pressure},
          {"peak_pressure", state.peak_pressure},
          {"min_realised_kv_fraction", state.min_realised_kv_fraction},
          {"peak_running", state.peak_running},
          {"peak_waiting", state.peak_waiting},
          {"preemptions", state.preemptions},
          {"regrouped_tokens", state.regrouped_tokens}};
}

}  // namespace

std::string ReportJson(const Report& report) {
  Json json;
  json["seconds"] = report.seconds;
  json["requests"] = {{"sent", report.sent},           {"completed", report.completed},
                      {"rejected", report.rejected},   {"failed", report.failed},
                      {"cancelled", report.cancelled}, {"interrupted", report.interrupted},
                      {"clipped", report.clipped},     {"slow_readers", report.slow_readers}};
  json["errors"] = Json::array();
  for (const ErrorCount& error : report.errors) {
    json["errors"].push_back({{"outcome", error.outcome == Outcome::kRejected ? "rejected" : "failed"},
                              {"code", error.code},
                              {"message", error.message},
                              {"count", error.count}});
  }
  json["tokens"] = {{"prompt", report.prompt_tokens}, {"generated", report.generated_tokens}};
  json["throughput"] = {{"requests_per_second", report.requests_per_second},
                        {"generated_tokens_per_second", report.generated_tokens_per_second},
                        {"total_tokens_per_second", report.total_tokens_per_second}};
  if (!report.slo.empty()) json["goodput"] = Goodput(report);
  json["ttft_seconds"] = ToJson(report.ttft);
  json["tpot_seconds"] = ToJson(report.tpot);
  json["itl_seconds"] = ToJson(report.itl);
  json["e2e_seconds"] = ToJson(report.e2e);
  json["queue_seconds"] = ToJson(report.queue);
  json["outside_seconds"] = ToJson(report.outside);
  json["send_lag_seconds"] = ToJson(report.send_lag);
  if (report.generator_lag_seconds.has_value()) json["generator_lag_seconds"] = *report.generator_lag_seconds;
  json["kv"] = {{"accounted_requests", report.accounted},   {"peak_request_bytes", report.peak_request_kv_bytes},
                {"mean_fraction", report.mean_kv_fraction}, {"tokens_per_expert", report.tokens_per_expert},
                {"group_sizes", report.group_sizes},        {"tokens_regrouped", report.tokens_regrouped}};
  if (report.state.has_value()) json["state"] = ToJson(*report.state);
  // An error's message need not be valid UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace ration
