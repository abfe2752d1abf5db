#include "server/control_conversion.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

constexpr int64_t kMinIntervalMs = 20, kMaxIntervalMs = 60000, kDefaultIntervalMs = 500;
constexpr int kMaxKnots = 64;
constexpr size_t kMaxRatioBytes = 256;  // of one ratio's text

absl::StatusOr<Ratio> ParseRatio(absl::string_view field, const std::string& text, const ExpertSpec& experts) {
  if (text.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": must be ", experts.num_experts(), " weights such as 3:1:6, not empty"));
  }
  if (text.size() > kMaxRatioBytes) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": must have at most ", kMaxRatioBytes, " bytes, not ", text.size()));
  }
  absl::StatusOr<Ratio> ratio = Ratio::Parse(text, experts.num_experts());
  if (!ratio.ok()) return absl::InvalidArgumentError(absl::StrCat(field, ": ", ratio.status().message()));
  return ratio;
}

v1::BudgetPolicy ToProto(BudgetPolicy policy) {
  switch (policy) {
    case BudgetPolicy::kGovernor:
      return v1::BUDGET_POLICY_GOVERNOR;
    case BudgetPolicy::kStatic:
      return v1::BUDGET_POLICY_STATIC;
    case BudgetPolicy::kPreempt:
      return v1::BUDGET_POLICY_PREEMPT;
  }
  return v1::BUDGET_POLICY_UNSPECIFIED;
}

v1::TenantState ToProto(const TenantStats& stats) {
  v1::TenantState to;
  to.set_tenant(stats.tenant);
  to.set_weight(stats.weight);
  to.set_requests_running(stats.requests_running);
  to.set_requests_waiting(stats.requests_waiting);
  to.set_reserved_bytes(stats.kv_reserved_bytes);
  if (stats.max_kv_bytes.has_value()) to.set_max_kv_bytes(*stats.max_kv_bytes);
  to.set_prompt_tokens(stats.prompt_tokens);
  to.set_generated_tokens(stats.generated_tokens);
  to.set_requests_rejected(std::accumulate(stats.rejections.begin(), stats.rejections.end(), int64_t{0}));
  return to;
}

int64_t PerLayer(int64_t token_layers, int64_t num_layers) { return token_layers / std::max<int64_t>(num_layers, 1); }

}  // namespace

absl::StatusOr<absl::Duration> WatchInterval(const v1::WatchStateRequest& request) {
  const int64_t ms = request.has_interval_ms() ? request.interval_ms() : kDefaultIntervalMs;
  if (ms >= kMinIntervalMs && ms <= kMaxIntervalMs) return absl::Milliseconds(ms);
  return absl::InvalidArgumentError(
      absl::StrCat("interval_ms: must be in [", kMinIntervalMs, ", ", kMaxIntervalMs, "], not ", ms));
}

absl::StatusOr<Ratio> ToRatio(const v1::SetRatioRequest& request, const ExpertSpec& experts) {
  return ParseRatio("ratio", request.ratio(), experts);
}

absl::StatusOr<PolicyChange> ToPolicyChange(const v1::SetPolicyRequest& request, const ExpertSpec& experts) {
  const v1::Policy& from = request.policy();
  PolicyChange to;
  if (from.has_mode()) {
    if (from.mode() != v1::MODE_AUTO && from.mode() != v1::MODE_MANUAL) {
      return absl::InvalidArgumentError(
          absl::StrCat("mode: must be MODE_AUTO (1) or MODE_MANUAL (2), not ", static_cast<int>(from.mode())));
    }
    to.mode = from.mode() == v1::MODE_AUTO ? ControlMode::kAuto : ControlMode::kManual;
  }
  if (from.ladder_size() > kMaxKnots) {
    return absl::InvalidArgumentError(absl::StrCat("ladder: must have at most ", kMaxKnots, " ratios, not ", from.ladder_size()));
  }
  if (from.ladder_size() > 0) {
    std::vector<Ratio> knots;
    for (int i = 0; i < from.ladder_size(); ++i) {
      RATION_ASSIGN_OR_RETURN(const Ratio knot, ParseRatio(absl::StrCat("ladder[", i, "]"), from.ladder(i), experts));
      knots.push_back(knot);
    }
    absl::StatusOr<RatioLadder> ladder = RatioLadder::Create(experts, std::move(knots));
    if (!ladder.ok()) return absl::InvalidArgumentError(absl::StrCat("ladder: ", ladder.status().message()));
    to.ladder = *std::move(ladder);
  }
  if (from.has_floor()) to.floor = from.floor();
  if (from.has_ceiling()) to.ceiling = from.ceiling();
  if (from.has_rise_per_second()) to.rise_per_second = from.rise_per_second();
  if (from.has_dead_band()) to.dead_band = from.dead_band();
  if (from.has_headroom()) to.headroom = from.headroom();
  if (from.has_max_queued_requests()) to.max_queued_requests = from.max_queued_requests();
  if (from.has_max_queued_tokens()) to.max_queued_tokens = from.max_queued_tokens();
  if (from.has_admission_overcommit()) to.admission_overcommit = from.admission_overcommit();
  return to;
}

absl::StatusOr<absl::Duration> DrainTimeout(const v1::DrainRequest& request) {
  if (!request.has_timeout_ms()) return absl::InfiniteDuration();
  if (request.timeout_ms() > 0) return absl::Milliseconds(request.timeout_ms());
  return absl::InvalidArgumentError(absl::StrCat("timeout_ms: must be > 0, not ", request.timeout_ms()));
}

v1::Policy ToProto(const Policy& policy) {
  v1::Policy to;
  to.set_mode(policy.mode == ControlMode::kAuto ? v1::MODE_AUTO : v1::MODE_MANUAL);
  to.set_floor(policy.floor);
  to.set_ceiling(policy.ceiling);
  for (const Ratio& knot : policy.ladder.knots()) to.add_ladder(knot.ToString());
  to.set_rise_per_second(policy.gains.rise_per_second);
  to.set_dead_band(policy.gains.dead_band);
  to.set_headroom(policy.gains.headroom);
  to.set_max_queued_requests(policy.max_queued_requests);
  to.set_max_queued_tokens(policy.max_queued_tokens);
  to.set_admission_overcommit(policy.admission_overcommit);
  return to;
}

v1::ServerState ToProto(const EngineStats& stats, const StateFacts& facts) {
  v1::ServerState to;
  to.set_epoch(stats.policy_epoch);
  to.set_budget_policy(ToProto(stats.budget_policy));
  to.set_mode(stats.policy.mode == ControlMode::kAuto ? v1::MODE_AUTO : v1::MODE_MANUAL);
  to.set_uptime_seconds(facts.uptime_seconds);
  to.set_draining(facts.draining);

  to.set_budget_bytes(stats.kv_budget_bytes);
  to.set_used_bytes(stats.kv_used_bytes);
  to.set_reserved_bytes(stats.kv_reserved_bytes);
  to.set_waste_bytes(stats.kv_waste_bytes);
  to.set_page_bytes(stats.kv_page_bytes);
  to.set_pressure(static_cast<double>(stats.kv_used_bytes) / static_cast<double>(std::max<int64_t>(stats.kv_budget_bytes, 1)));
  to.set_resident_bytes(facts.resident_bytes);
  if (stats.target_budget_bytes.has_value()) to.set_target_budget_bytes(*stats.target_budget_bytes);

  to.set_kv_fraction(stats.requested_kv_fraction);
  to.set_wanted_kv_fraction(stats.wanted_kv_fraction);
  to.set_realised_kv_fraction(stats.realised_kv_fraction);
  const double layers = static_cast<double>(std::max<int64_t>(stats.num_layers, 1));
  for (int e = 0; e < std::min(stats.num_experts, facts.experts.num_experts()); ++e) {
    v1::ExpertState& expert = *to.add_experts();
    expert.set_group_size(facts.experts.group_size(e));
    expert.set_ratio(stats.ratio[e]);
    const double tokens = static_cast<double>(stats.kv_token_layers[e]) / layers;
    expert.set_cached_tokens(tokens);
    if (e < static_cast<int>(facts.bytes_per_token.size())) {
      expert.set_cached_bytes(static_cast<int64_t>(tokens * static_cast<double>(facts.bytes_per_token[e])));
    }
  }

  to.set_requests_running(stats.requests_running);
  to.set_requests_waiting(stats.requests_waiting);
  to.set_waiting_tokens(stats.waiting_tokens);
  int64_t finished = 0, failed = 0, rejected = 0;
  for (size_t i = 0; i < stats.requests_finished.size(); ++i) {
    const auto reason = static_cast<FinishReason>(i);
    (reason == FinishReason::kStop || reason == FinishReason::kLength ? finished : failed) += stats.requests_finished[i];
  }
  for (const int64_t count : stats.rejections) rejected += count;
  to.set_requests_finished(finished);
  to.set_requests_rejected(rejected);
  to.set_requests_failed(failed);
  to.set_preemptions(stats.preemptions);
  to.set_prompt_tokens(stats.prompt_tokens);
  to.set_generated_tokens(stats.generated_tokens);
  to.set_regrouped_tokens(PerLayer(stats.regrouped_total(), stats.num_layers));
  to.set_steps(stats.steps);
  *to.mutable_policy() = ToProto(stats.policy);
  for (const TenantStats& of : stats.tenants) *to.add_tenants() = ToProto(of);
  return to;
}

v1::SetBudgetResponse ToProto(const BudgetResult& result, int64_t num_layers) {
  v1::SetBudgetResponse to;
  to.set_epoch(result.epoch);
  to.set_budget_bytes(result.budget_bytes);
  to.set_seconds(result.seconds);
  to.set_reclaimed_bytes(result.reclaimed_bytes);
  to.set_regrouped_tokens(PerLayer(result.regrouped_token_layers, num_layers));
  to.set_requests_shed(result.requests_shed);
  to.set_requests_preempted(result.requests_preempted);
  return to;
}

}  // namespace ration
