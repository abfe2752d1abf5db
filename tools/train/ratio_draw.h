// Which ratio each training sequence gets: one fixed ratio, or (elastic) one drawn anew from a ladder of ratios.
// Layer: tools/train. Value types; thread-compatible.
#ifndef RATION_TOOLS_TRAIN_RATIO_DRAW_H_
#define RATION_TOOLS_TRAIN_RATIO_DRAW_H_

#include <cstdint>
#include <random>
#include <vector>

#include "engine/budget/ratio_ladder.h"
#include "engine/router/expert_spec.h"

namespace ration {

struct RatioDrawOptions {
  double full_share = 0.25;   // of sequences at the ladder's top
  double floor_share = 0.15;  // of sequences at its bottom; the rest are uniform in the KV fraction
  std::vector<Ratio> extra;   // ratios off the ladder, each given extra_share of the sequences
  double extra_share = 0;
};

// One ratio for each of `count` sequences. The draw is stratified: a batch covers the range evenly and the order is
// shuffled, which takes noise out of the gradient.
std::vector<Ratio> DrawRatios(const RatioLadder& ladder, const RatioDrawOptions& options, int64_t count,
                              std::mt19937_64& random);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_RATIO_DRAW_H_
