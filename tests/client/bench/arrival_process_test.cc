#include "client/bench/arrival_process.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace ration {
namespace {

struct GapStatistics {
  double mean = 0;
  double variation = 0;  // standard deviation / mean
};

GapStatistics Gaps(const ArrivalProcess::Options& options, int count) {
  ArrivalProcess process(options);
  double before = 0, sum = 0, squares = 0;
  for (int i = 0; i < count; ++i) {
    const double at = process.NextSeconds();
    EXPECT_GE(at, before);
    sum += at - before;
    squares += (at - before) * (at - before);
    before = at;
  }
  const double mean = sum / count;
  return {mean, std::sqrt(squares / count - mean * mean) / mean};
}

constexpr int kCount = 200000;

// The mean of n gaps has a relative standard error of variation / sqrt(n); 5 of them are allowed.
TEST(ArrivalProcessTest, PoissonArrivalsHaveTheirRateAndAVariationOfOne) {
  const GapStatistics gaps = Gaps({20, 1, 7}, kCount);
  EXPECT_NEAR(gaps.mean, 1.0 / 20, 5 * (1.0 / 20) / std::sqrt(kCount));
  EXPECT_NEAR(gaps.variation, 1, 0.02);
}

TEST(ArrivalProcessTest, BurstinessBelowOneMakesGapsVaryMoreAndKeepsTheRate) {
  const GapStatistics gaps = Gaps({20, 0.25, 7}, kCount);
  EXPECT_NEAR(gaps.mean, 1.0 / 20, 5 * 2 * (1.0 / 20) / std::sqrt(kCount));
  EXPECT_NEAR(gaps.variation, 2, 0.06);  // 1 / sqrt(0.25)
}

TEST(ArrivalProcessTest, BurstinessAboveOneMakesGapsSteadier) {
  const GapStatistics gaps = Gaps({20, 16, 7}, kCount);
  EXPECT_NEAR(gaps.mean, 1.0 / 20, 5 * 0.25 * (1.0 / 20) / std::sqrt(kCount));
  EXPECT_NEAR(gaps.variation, 0.25, 0.005);
}

TEST(ArrivalProcessTest, ASeedGivesTheSameArrivalsAndAnotherSeedOthers) {
  ArrivalProcess first({5, 0.5, 1}), again({5, 0.5, 1}), other({5, 0.5, 2});
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const double at = first.NextSeconds();
    EXPECT_EQ(at, again.NextSeconds());
    differs = differs || at != other.NextSeconds();
  }
  EXPECT_TRUE(differs);
}

}  // namespace
}  // namespace ration
