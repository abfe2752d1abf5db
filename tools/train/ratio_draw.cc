#include "tools/train/ratio_draw.h"

#include <algorithm>

namespace ration {

std::vector<Ratio> DrawRatios(const RatioLadder& ladder, const RatioDrawOptions& options, int64_t count,
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
    const double extra_share = options.extra_share * static_cast<double>(options.extra.size());
    if (u < extra_share) {
      ratios.push_back(options.extra[static_cast<size_t>(u / options.extra_share)]);
      continue;
    }
    u -= extra_share;
    const double rest = 1 - options.full_share - options.floor_share - extra_share;
    ratios.push_back(ladder.At(ladder.lowest() + (ladder.highest() - ladder.lowest()) * std::min(1.0, u / rest)));
  }
  std::shuffle(ratios.begin(), ratios.end(), random);
  return ratios;
}

}  // namespace ration
