#include "tools/train/ratio_draw.h"

#include <random>
#include <vector>

#include "engine/budget/ratio_ladder.h"
#include "gtest/gtest.h"

namespace ration {
namespace {

ExpertSpec Spec() { return *ExpertSpec::Create({1, 2, 4}, 4); }
Ratio R(const char* text) { return *Ratio::Parse(text, 3); }
RatioLadder Ladder() { return *RatioLadder::Create(Spec(), {R("0:0:1"), R("1:0:0"), R("3:1:6")}); }

TEST(DrawRatios, GivesEachKindItsShareAndCoversTheRange) {
  RatioDrawOptions options;
  options.full_share = 0.3;
  options.floor_share = 0.2;
  options.extra = {R("0:1:0")};
  options.extra_share = 0.1;
  std::mt19937_64 random(1);
  const std::vector<Ratio> ratios = DrawRatios(Ladder(), options, 1000, random);
  int full = 0, floor = 0, extra = 0, low = 0, high = 0;
  for (const Ratio& ratio : ratios) {
    full += ratio == R("1:0:0");
    floor += ratio == R("0:0:1");
    extra += ratio == R("0:1:0");
    if (ratio == R("0:1:0") || ratio == R("1:0:0") || ratio == R("0:0:1")) continue;
    (ratio.KvFraction(Spec()) < 0.625 ? low : high) += 1;
  }
  EXPECT_NEAR(full, 300, 3);
  EXPECT_NEAR(floor, 200, 3);
  EXPECT_NEAR(extra, 100, 3);
  EXPECT_NEAR(low, 200, 3);  // the rest is even in the KV fraction
  EXPECT_NEAR(high, 200, 3);
}

TEST(DrawRatios, OneKnotGivesThatRatioOnly) {
  std::mt19937_64 random(1);
  const RatioLadder ladder = *RatioLadder::Create(Spec(), {R("3:1:6")});
  for (const Ratio& ratio : DrawRatios(ladder, {}, 9, random)) EXPECT_EQ(ratio, R("3:1:6"));
}

}  // namespace
}  // namespace ration
