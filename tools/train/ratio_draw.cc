#include "tools/train/ratio_draw.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace ration {

absl::StatusOr<TrainingLadder> TrainingLadder::Create(const ExpertSpec& spec, std::vector<Ratio> knots) {
  if (knots.empty()) return absl::InvalidArgumentError("a ladder needs at least one ratio");
  for (const Ratio& knot : knots) {
    if (knot.num_experts() != spec.num_experts()) {
      return absl::InvalidArgumentError(absl::StrCat("ladder ratio ", knot.ToString(), " has ", knot.num_experts(),
                                                     " shares, the model ", spec.num_experts(), " experts"));
    }
  }
  std::sort(knots.begin(), knots.end(),
            [&](const Ratio& a, const Ratio& b) { return a.KvFraction(spec) < b.KvFraction(spec); });
  TrainingLadder ladder;
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

Ratio TrainingLadder::At(double fraction) const {
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

std::vector<Ratio> DrawRatios(const TrainingLadder& ladder, const RatioDrawOptions& options, int64_t count,
                              std::mt19937_64& random) {
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<Ratio> ratios;
  for (int64_t i = 0; i < count; ++i) {
    double u = (static_cast<double>(i) + uniform(random)) / static_cast<double>(count);
    if (u < options.full_share) {
      ratios.push_back(ladder.At(ladder.highest()));
      continue;
    }
    u -= options.full_share;
    if (u < options.floor_share) {
      ratios.push_back(ladder.At(ladder.lowest()));
      continue;
    }
    u -= options.floor_share;
    if (u < options.extra_share * static_cast<double>(options.extra.size())) {
      ratios.push_back(options.extra[static_cast<size_t>(u / options.extra_share)]);
      continue;
    }
    const double rest = 1 - options.full_share - options.floor_share;
    ratios.push_back(ladder.At(ladder.lowest() + (ladder.highest() - ladder.lowest()) * std::min(1.0, u / rest)));
  }
  std::shuffle(ratios.begin(), ratios.end(), random);
  return ratios;
}

}  // namespace ration
