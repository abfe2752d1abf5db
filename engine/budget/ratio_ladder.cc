#include "engine/budget/ratio_ladder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/check.h"

namespace ration {

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
  for (const Ratio& knot : knots) {
    const double fraction = knot.KvFraction(spec);
    if (!ladder.fractions_.empty() && fraction - ladder.fractions_.back() < 1e-6) {
      return absl::InvalidArgumentError(absl::StrCat("two ladder ratios have the KV fraction ", fraction));
    }
    ladder.fractions_.push_back(fraction);
  }
  ladder.knots_ = std::move(knots);
  return ladder;
}

RatioLadder RatioLadder::Default(const ExpertSpec& spec) {
  const int num_experts = spec.num_experts();
  std::vector<Ratio> knots = {Ratio::AllTo(0, num_experts)};
  if (num_experts > 1) knots.push_back(Ratio::AllTo(num_experts - 1, num_experts));
  if (spec.group_sizes() == std::vector<int>{1, 2, 4}) knots.push_back(*Ratio::Parse("3:1:6", num_experts));
  absl::StatusOr<RatioLadder> ladder = Create(spec, std::move(knots));
  RATION_CHECK(ladder.ok());
  return *std::move(ladder);
}

Ratio RatioLadder::At(double fraction) const {
  fraction = std::clamp(fraction, lowest(), highest());
  size_t upper = 0;
  while (upper + 1 < fractions_.size() && fractions_[upper] < fraction) ++upper;
  if (upper == 0) return knots_[0];
  const double weight = (fraction - fractions_[upper - 1]) / (fractions_[upper] - fractions_[upper - 1]);
  std::vector<double> weights(knots_[0].num_experts());
  for (size_t e = 0; e < weights.size(); ++e) {
    weights[e] =
        (1 - weight) * knots_[upper - 1].share(static_cast<int>(e)) + weight * knots_[upper].share(static_cast<int>(e));
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
