// Maps a KV fraction to the ratio that spends it best: piecewise-linear between knots, which a checkpoint carries (found by
// evaluation), an operator sets, or the default gives (1 -> 1:0:0, 1/2 -> 3:1:6, 1/4 -> 0:0:1 for group sizes 1, 2, 4).
// Layer: engine/budget. Immutable value type; thread-safe.
//
// Invariants: (1) knots ascend strictly in fraction, and each knot's fraction is its ratio's KvFraction. (2) At(f).KvFraction() is f
// clamped to [lowest, highest], to within the rounding of Ratio (1e-5). (3) At is monotone: a higher fraction never gives experts 0..j
// together a smaller share. Create refuses knots that break (3). (4) An expert without a share in both knots around f has none at f.
#ifndef RATION_ENGINE_BUDGET_RATIO_LADDER_H_
#define RATION_ENGINE_BUDGET_RATIO_LADDER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/router/expert_spec.h"

namespace ration {

class RatioLadder {
 public:
  // One knot: everything at the only expert of a plain checkpoint.
  RatioLadder() : knots_(1), fractions_{1.0} {}
  // knots: >= 1, any order, no two with the same fraction. InvalidArgument names the knot and what is wrong.
  static absl::StatusOr<RatioLadder> Create(const ExpertSpec& spec, std::vector<Ratio> knots);
  // From everything at expert 0 to everything at the last one; in between, for three experts or more, a middle knot at half KV that
  // is 3:1:6 for group sizes 1, 2, 4. One expert: a ladder of one knot.
  static RatioLadder Default(const ExpertSpec& spec);

  // The ratio whose KV fraction is `fraction`, clamped to [lowest(), highest()].
  Ratio At(double fraction) const;

  double lowest() const { return fractions_.front(); }
  double highest() const { return fractions_.back(); }
  const std::vector<Ratio>& knots() const { return knots_; }  // ascending in fraction
  std::string ToString() const;                               // e.g. "0.25=0:0:1 0.5=0.3:0.1:0.6 1=1:0:0"

 private:
  std::vector<Ratio> knots_;
  std::vector<double> fractions_;
};

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_RATIO_LADDER_H_
