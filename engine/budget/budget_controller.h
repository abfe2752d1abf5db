// What is in force: mode, ratio, policy and the epoch that counts their changes. In automatic mode it asks the governor once a step and
// takes over what that decides; in manual mode the operator's ratio stays. Knows no requests and no pages.
// Layer: engine/budget. Thread-compatible: used only by the engine thread.
//
// Invariants: (1) fraction() is ratio().KvFraction(). (2) epoch() grows by one with every change of anything in force, also those the
// governor makes to the ratio, and never otherwise.
#ifndef RATION_ENGINE_BUDGET_BUDGET_CONTROLLER_H_
#define RATION_ENGINE_BUDGET_BUDGET_CONTROLLER_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/budget/control.h"
#include "engine/budget/governor.h"
#include "engine/router/expert_spec.h"

namespace ration {

class BudgetController {
 public:
  struct Options {
    ExpertSpec experts;
    Policy policy;               // a ladder that is not of these experts' number: RatioLadder::Default
    std::optional<Ratio> ratio;  // start in manual mode with it; absent: automatic, starting at the ceiling
    bool fixed = false;          // there is no governor: the ratio (absent: everything at expert 0) stays for ever
  };
  // InvalidArgument names the field, the limit and the value.
  static absl::StatusOr<std::unique_ptr<BudgetController>> Create(const Options& options);

  // Aborted, naming both, if `expected` is given and an operator changed something since that epoch (or it is yet to come). What the
  // governor does by itself is no conflict: it would be one almost always.
  absl::Status CheckEpoch(std::optional<int64_t> expected) const;
  // Both return the new epoch, or an error and change nothing: Aborted, or InvalidArgument naming field, limit and value. A floor that
  // was the old ladder's lowest fraction, and is not given, becomes the new ladder's.
  absl::StatusOr<int64_t> SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch);
  absl::StatusOr<int64_t> SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch);
  // For changes made elsewhere (the budget).
  void BumpEpoch() { operators_epoch_ = ++epoch_; }

  // Once a step. Fills in what `input` needs of the policy and of the past (floor, ceiling, level) and, in automatic mode, puts the
  // decision in force: a new ratio is a new epoch. In manual mode the ratio stays; regroup_to_bytes and admit are the governor's for
  // bounds that leave it no choice: what waits is held back once running requests are expected to fill the budget at that ratio.
  GovernorDecision Update(GovernorInput input);

  const Policy& policy() const { return policy_; }
  const Ratio& ratio() const { return ratio_; }      // of tokens not yet routed
  double fraction() const { return fraction_; }
  double wanted_fraction() const { return wanted_fraction_; }
  int64_t epoch() const { return epoch_; }

 private:
  explicit BudgetController(const ExpertSpec& experts) : experts_(experts) {}
  // Puts ladder.At(fraction) in force.
  void SetFraction(double fraction);

  const ExpertSpec experts_;
  Policy policy_;
  Ratio ratio_;
  double fraction_ = 1;
  double wanted_fraction_ = 1;
  double level_ = 1;  // the governor's, in automatic mode
  int64_t epoch_ = 1;
  int64_t operators_epoch_ = 1;  // of the last change that the governor did not make
};

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_BUDGET_CONTROLLER_H_
