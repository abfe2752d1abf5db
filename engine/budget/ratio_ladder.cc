#include "engine/budget/ratio_ladder.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/check.h"

namespace ration {
namespace {

// Knots nearer to each other in KV fraction count as the same.
constexpr double kLeastStep = 1e-6;

}  // namespace

absl::StatusOr<RatioLadder> RatioLadder::Create(const ExpertSpec& spec, std::vector<Ratio> knots) {
  if (knots.empty()) return absl::InvalidArgumentError("a ladder needs at least one ratio");
  for (const Ratio& knot : knots) {
    if (knot.num_experts() != spec.num_experts()) {
      return absl::InvalidArgumentError(absl::StrCat("ladder ratio ", knot.ToString(), " has ", knot.num_experts(),
                                                     " shares, the model ", spec.num_experts(), " experts"));
    }
  }
  std::sort(knots.begin(), knots.end(),
            [&](const Ratio& a, const Ratio& b) { return a.KvFraction(spec) < b.KvFraction(spec); });
  RatioLadder ladder;
  ladder.fractions_.clear();
  for (size_t i = 0; i < knots.size(); ++i) {
    ladder.fractions_.push_back(knots[i].KvFraction(spec));
    if (i == 0) continue;
    const Ratio &below = knots[i - 1], &above = knots[i];
    if (ladder.fractions_[i] - ladder.fractions_[i - 1] < kLeastStep) {
      return absl::InvalidArgumentError(absl::StrCat("ladder ratios ", below.ToString(), " and ", above.ToString(),
                                                     " have the same KV fraction ", ladder.fractions_[i]));
    }
    int64_t below_ppm = 0, above_ppm = 0;
    for (int e = 0; e < spec.num_experts(); ++e) {
      below_ppm += below.ppm(e);
      above_ppm += above.ppm(e);
      if (below_ppm <= above_ppm) continue;
      return absl::InvalidArgumentError(absl::StrFormat(
          "ladder ratios %s (KV fraction %.4g) and %s (%.4g): the higher fraction gives experts 0 to %d together less, %.6g instead "
          "of %.6g",
          below.ToString(), ladder.fractions_[i - 1], above.ToString(), ladder.fractions_[i], e,
          static_cast<double>(above_ppm) / Ratio::kOne, static_cast<double>(below_ppm) / Ratio::kOne));
    }
  }
  ladder.knots_ = std::move(knots);
  return ladder;
}

RatioLadder RatioLadder::Default(const ExpertSpec& spec) {
  const int num_experts = spec.num_experts();
  const int last = num_experts - 1;
  std::vector<Ratio> knots = {Ratio::AllTo(0, num_experts)};
  if (num_experts > 1) knots.push_back(Ratio::AllTo(last, num_experts));
  if (num_experts > 2) {
    // The experts in between take a little; the outer two share the rest so that the whole is half of full KV. The last group is at
    // least 4 (group sizes are multiples of each other), so the first expert's weight comes out between 0.2 and 0.5.
    constexpr double kBetween = 0.1;
    const double each = kBetween / (num_experts - 2);
    const double last_cost = 1.0 / spec.group_size(last);
    double missing = 0.5 - (1 - kBetween) * last_cost;
    for (int e = 1; e < last; ++e) missing -= each / spec.group_size(e);
    std::vector<double> weights(num_experts, each);
    weights.front() = missing / (1 - last_cost);
    weights.back() = 1 - kBetween - weights.front();
    absl::StatusOr<Ratio> middle = Ratio::FromWeights(weights);
    RATION_CHECK(middle.ok());
    knots.push_back(*middle);
  }
  absl::StatusOr<RatioLadder> ladder = Create(spec, std::move(knots));
  RATION_CHECK(ladder.ok());
  return *std::move(ladder);
}

Ratio RatioLadder::At(double fraction) const {
  fraction = std::clamp(fraction, lowest(), highest());
  size_t upper = 0;
  while (upper + 1 < fractions_.size() && fractions_[upper] < fraction) ++upper;
  if (upper == 0) return knots_[0];
  const Ratio &low = knots_[upper - 1], &high = knots_[upper];
  const double weight = (fraction - fractions_[upper - 1]) / (fractions_[upper] - fractions_[upper - 1]);
  // The sums over experts 0..e are interpolated and rounded to parts per million; so they are monotone to the last part.
  std::vector<double> weights(low.num_experts());
  int64_t low_ppm = 0, high_ppm = 0, taken = 0;
  for (size_t e = 0; e < weights.size(); ++e) {
    low_ppm += low.ppm(static_cast<int>(e));
    high_ppm += high.ppm(static_cast<int>(e));
    const double until = static_cast<double>(low_ppm) + weight * static_cast<double>(high_ppm - low_ppm);
    const int64_t rounded = std::max(taken, static_cast<int64_t>(std::llround(until)));
    weights[e] = static_cast<double>(rounded - taken);
    taken = rounded;
  }
  absl::StatusOr<Ratio> ratio = Ratio::FromWeights(weights);
  RATION_CHECK(ratio.ok());
  return *ratio;
}

std::string RatioLadder::ToString() const {
  std::string text;
  for (size_t i = 0; i < knots_.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", absl::StrFormat("%.3g", fractions_[i]), "=", knots_[i].ToString());
  }
  return text;
}

}  // namespace ration
