// What an operator may change while the engine runs, and what comes of it: ratio, budget, policy. The engine's own terms: no protobuf.
// Layer: engine/budget. Plain data.
#ifndef RATION_ENGINE_BUDGET_CONTROL_H_
#define RATION_ENGINE_BUDGET_CONTROL_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/budget/governor.h"
#include "engine/budget/ratio_ladder.h"
#include "engine/router/expert_spec.h"

namespace ration {

// How memory is shared out; fixed while the engine lives.
enum class BudgetPolicy {
  kGovernor,  // reservations at each request's floor; tokens get cheaper as memory gets short
  kStatic,    // one ratio, reservations for the worst case: nothing ever has to give way
  kPreempt,   // one ratio, optimistic admission; when pages run out, the youngest gives them up and is computed again later
};

enum class ControlMode {
  kAuto,    // the governor chooses the KV fraction, the ladder the ratio
  kManual,  // the operator's ratio; under the budget's hard bound all the same
};

// The knobs in force.
struct Policy {
  ControlMode mode = ControlMode::kAuto;
  double floor = 0;      // KV fraction of requests without a floor of their own; [ladder.lowest(), 1]
  double ceiling = 1;    // [floor, 1]
  RatioLadder ladder;
  GovernorGains gains;
  int64_t max_queued_requests = 1024;   // >= 1
  int64_t max_queued_tokens = 4194304;  // >= 1; prompt tokens of the waiting requests
  double admission_overcommit = 1;      // >= 1; above it the guarantee is given up and preemption may happen
};

// What SetPolicy changes: the fields that are set, all or none of them.
struct PolicyChange {
  std::optional<ControlMode> mode;
  std::optional<double> floor, ceiling;
  std::optional<RatioLadder> ladder;
  std::optional<double> rise_per_second, dead_band, headroom;
  std::optional<int64_t> max_queued_requests, max_queued_tokens;
  std::optional<double> admission_overcommit;
};

struct BudgetChange {
  int64_t budget_bytes = 0;  // >= one page
  bool shed = false;         // end lowest-priority requests if the floors of all do not fit
};

struct BudgetResult {
  int64_t epoch = 0;
  int64_t budget_bytes = 0;      // whole pages
  double seconds = 0;
  int64_t reclaimed_bytes = 0;   // in use before, less after
  int64_t regrouped_token_layers = 0;
  int64_t requests_shed = 0;
  int64_t requests_preempted = 0;
};

// Runs once, on the engine thread, possibly inside SetBudget. FailedPrecondition carries the smallest budget that would do (see
// SmallestBudgetOf).
using BudgetDone = std::function<void(absl::StatusOr<BudgetResult>)>;

// Attaches to and reads from a status the smallest budget, in bytes, that a SetBudget could have had.
absl::Status WithSmallestBudget(absl::Status status, int64_t bytes);
std::optional<int64_t> SmallestBudgetOf(const absl::Status& status);

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_CONTROL_H_
