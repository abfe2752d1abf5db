// The engine's numbers as plain data: a snapshot the engine publishes after every step. server/metrics turns it into Prometheus
// families; nothing here knows of that.
// Layer: engine. Value types. Counters only grow; gauges are of the moment of the snapshot.
#ifndef RATION_ENGINE_ENGINE_STATS_H_
#define RATION_ENGINE_ENGINE_STATS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/budget/control.h"
#include "engine/request.h"
#include "engine/router/expert_spec.h"

namespace ration {

// A cumulative histogram: counts[i] observations fell in (bounds[i-1], bounds[i]], the last beyond every bound.
struct HistogramData {
  HistogramData() = default;
  explicit HistogramData(std::vector<double> upper_bounds) : bounds(std::move(upper_bounds)), counts(bounds.size() + 1) {}
  void Observe(double value);

  std::vector<double> bounds;  // ascending
  std::vector<int64_t> counts;
  double sum = 0;
};

enum class RejectReason {
  kQueueFull,
  kQueueTokens,
  kTooLarge,
  kContextTooLong,
  kDraining,
  kTenantQueue,  // its tenant's max_queued_requests
  kTenantKv,     // alone beyond its tenant's max_kv_bytes
  kCount,
};
using RejectionCounts = std::array<int64_t, static_cast<size_t>(RejectReason::kCount)>;

// One tenant's part.
struct TenantStats {
  std::string tenant;  // "other": everyone who is not listed
  double weight = 1;
  std::optional<int64_t> max_kv_bytes;
  // Gauges.
  int64_t requests_running = 0;
  int64_t requests_waiting = 0;
  int64_t kv_reserved_bytes = 0;
  // Counters; they go on under the same name when tenants are set anew.
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  RejectionCounts rejections{};  // by the engine
};

struct EngineStats {
  EngineStats();

  absl::Time published;  // on the engine's Clock

  // KV cache (gauges).
  int64_t kv_budget_bytes = 0;
  int64_t kv_used_bytes = 0;
  int64_t kv_reserved_bytes = 0;
  int64_t kv_waste_bytes = 0;
  int64_t kv_page_bytes = 0;
  int num_experts = 0;
  int64_t num_layers = 0;
  std::array<int64_t, kMaxExperts> kv_token_layers{};  // cached now, summed over layers
  std::optional<int64_t> target_budget_bytes;  // while a SetBudget is under way
  double requested_kv_fraction = 1;
  double wanted_kv_fraction = 1;    // what the governor steers to; the requested one in manual mode
  double realised_kv_fraction = 1;  // bytes stored / full-KV bytes of the same tokens; the requested one when empty
  std::array<double, kMaxExperts> ratio{};
  int64_t policy_epoch = 0;
  BudgetPolicy budget_policy = BudgetPolicy::kGovernor;
  Policy policy;

  // Requests (gauges).
  int64_t requests_running = 0;
  int64_t requests_waiting = 0;
  int64_t waiting_tokens = 0;  // prompt tokens of the waiting requests

  // Counters.
  std::array<std::array<int64_t, 2>, kMaxExperts> routed_token_layers{};  // [expert][phase: prefill, decode]
  std::array<int64_t, static_cast<size_t>(FinishReason::kCount)> requests_finished{};  // by FinishReason
  RejectionCounts rejections{};
  std::array<std::array<int64_t, kMaxExperts>, kMaxExperts> regrouped_token_layers{};  // [from][to]
  int64_t regrouped_total() const;  // the sum of these
  int64_t preemptions = 0;
  int64_t prompt_tokens = 0;      // put through the model, each once
  int64_t recomputed_tokens = 0;  // put through it again after a preemption, prompt and generated
  int64_t generated_tokens = 0;
  int64_t steps = 0;
  std::array<std::array<int64_t, 10>, kMaxExperts> router_scores{};  // upper bounds 0.1 .. 1.0

  // "other", then the tenants in the order they were set; empty while none are.
  std::vector<TenantStats> tenants;

  // Seconds, except step_tokens.
  HistogramData time_to_first_token, inter_token_latency, time_per_output_token, request_seconds, queue_seconds, step_seconds,
      regroup_seconds, control_seconds, step_tokens;
  // regroup_seconds: one step's regrouping, steps that had any; control_seconds: governor, admission and scheduling of a step.
};

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_STATS_H_
