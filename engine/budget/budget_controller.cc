#include "engine/budget/budget_controller.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

constexpr double kRounding = 1e-6;  // fractions that people type, such as 0.333333, against exact ones

absl::Status OutOfRange(const char* field, absl::string_view range, double value) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": must be in ", range, ", not ", value));
}

// Also false for NaN.
bool Within(double value, double low, double high) { return value >= low && value <= high; }

absl::Status Validate(const Policy& policy, const ExpertSpec& experts) {
  if (policy.ladder.knots()[0].num_experts() != experts.num_experts()) {
    return absl::InvalidArgumentError(absl::StrCat("ladder: its ratios have ", policy.ladder.knots()[0].num_experts(),
                                                   " weights, the model has ", experts.num_experts(), " experts"));
  }
  const double lowest = policy.ladder.lowest();
  if (!Within(policy.floor, lowest - kRounding, 1)) {
    return OutOfRange("floor", absl::StrCat("[", lowest, ", 1], the ladder's lowest fraction to full KV"), policy.floor);
  }
  if (!Within(policy.ceiling, policy.floor, 1)) {
    return OutOfRange("ceiling", absl::StrCat("[", policy.floor, ", 1], the floor to full KV"), policy.ceiling);
  }
  const GovernorGains& gains = policy.gains;
  if (!Within(gains.rise_per_second, 1e-6, 1e6)) return OutOfRange("rise_per_second", "(0, 1000000]", gains.rise_per_second);
  if (!Within(gains.dead_band, 0, 1)) return OutOfRange("dead_band", "[0, 1]", gains.dead_band);
  if (!Within(gains.quantum, 1e-6, 1)) return OutOfRange("quantum", "(0, 1]", gains.quantum);
  if (!Within(gains.headroom, 0, 0.5)) return OutOfRange("headroom", "[0, 0.5]", gains.headroom);
  if (policy.max_queued_requests < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_queued_requests: must be at least 1, not ", policy.max_queued_requests));
  }
  if (policy.max_queued_tokens < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_queued_tokens: must be at least 1, not ", policy.max_queued_tokens));
  }
  if (!Within(policy.admission_overcommit, 1, 1000)) {
    return OutOfRange("admission_overcommit", "[1, 1000]", policy.admission_overcommit);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<BudgetController>> BudgetController::Create(const Options& options) {
  auto controller = absl::WrapUnique(new BudgetController(options.experts));
  Policy& policy = controller->policy_;
  policy = options.policy;
  if (policy.ladder.knots()[0].num_experts() != options.experts.num_experts()) {
    policy.ladder = RatioLadder::Default(options.experts);
  }
  if (policy.floor == 0) policy.floor = policy.ladder.lowest();
  RATION_RETURN_IF_ERROR(Validate(policy, options.experts));
  if (options.ratio.has_value() && options.ratio->num_experts() != options.experts.num_experts()) {
    return absl::InvalidArgumentError(absl::StrCat("ratio: ", options.ratio->ToString(), " has ",
                                                   options.ratio->num_experts(), " weights, the model has ",
                                                   options.experts.num_experts(), " experts"));
  }
  if (options.ratio.has_value() || options.fixed) {
    policy.mode = ControlMode::kManual;
    controller->ratio_ = options.ratio.value_or(Ratio::AllTo(0, options.experts.num_experts()));
    controller->fraction_ = controller->wanted_fraction_ = controller->ratio_.KvFraction(options.experts);
  } else {
    policy.mode = ControlMode::kAuto;
    controller->SetFraction(policy.ceiling);
    controller->wanted_fraction_ = controller->fraction_;
    controller->level_ = policy.ceiling;
  }
  return controller;
}

absl::Status BudgetController::CheckEpoch(std::optional<int64_t> expected) const {
  if (!expected.has_value() || (*expected >= operators_epoch_ && *expected <= epoch_)) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("expected_epoch: ", *expected, " is not the epoch in force, ", epoch_));
}

void BudgetController::SetFraction(double fraction) {
  ratio_ = policy_.ladder.At(fraction);
  fraction_ = ratio_.KvFraction(experts_);
}

absl::StatusOr<int64_t> BudgetController::SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch) {
  RATION_RETURN_IF_ERROR(CheckEpoch(expected_epoch));
  if (ratio.num_experts() != experts_.num_experts()) {
    return absl::InvalidArgumentError(absl::StrCat("ratio: ", ratio.ToString(), " has ", ratio.num_experts(),
                                                   " weights, the model has ", experts_.num_experts(), " experts"));
  }
  policy_.mode = ControlMode::kManual;
  ratio_ = ratio;
  fraction_ = wanted_fraction_ = ratio.KvFraction(experts_);
  BumpEpoch();
  return epoch_;
}

absl::StatusOr<int64_t> BudgetController::SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch) {
  RATION_RETURN_IF_ERROR(CheckEpoch(expected_epoch));
  const bool was_automatic = policy_.mode == ControlMode::kAuto;
  Policy policy = policy_;
  if (change.mode) policy.mode = *change.mode;
  if (change.ladder) {
    policy.ladder = *change.ladder;
    if (policy_.floor == policy_.ladder.lowest()) policy.floor = policy.ladder.lowest();
  }
  if (change.floor) policy.floor = *change.floor;
  if (change.ceiling) policy.ceiling = *change.ceiling;
  if (change.rise_per_second) policy.gains.rise_per_second = *change.rise_per_second;
  if (change.dead_band) policy.gains.dead_band = *change.dead_band;
  if (change.headroom) policy.gains.headroom = *change.headroom;
  if (change.max_queued_requests) policy.max_queued_requests = *change.max_queued_requests;
  if (change.max_queued_tokens) policy.max_queued_tokens = *change.max_queued_tokens;
  if (change.admission_overcommit) policy.admission_overcommit = *change.admission_overcommit;
  RATION_RETURN_IF_ERROR(Validate(policy, experts_));
  policy_ = std::move(policy);
  // The ratio in force must lie within the new bounds, and on the new ladder, at once; the governor goes on from there.
  if (policy_.mode == ControlMode::kAuto) {
    level_ = std::clamp(was_automatic ? level_ : fraction_, policy_.floor, policy_.ceiling);
    SetFraction(std::clamp(fraction_, policy_.floor, policy_.ceiling));
  }
  BumpEpoch();
  return epoch_;
}

GovernorDecision BudgetController::Update(GovernorInput input) {
  const bool automatic = policy_.mode == ControlMode::kAuto;
  input.floor = automatic ? policy_.floor : fraction_;
  input.ceiling = automatic ? policy_.ceiling : fraction_;
  input.level = automatic ? level_ : fraction_;
  const GovernorDecision decision = Govern(input, policy_.gains);
  wanted_fraction_ = decision.wanted_fraction;
  if (automatic) {
    level_ = decision.level;
    const Ratio before = ratio_;
    SetFraction(decision.fraction);
    if (ratio_ != before) ++epoch_;
  }
  return decision;
}

}  // namespace ration
