#include "engine/sampling/logits_math.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace ration {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST(LogitsMathTest, ExpIsWithinItsErrorBound) {
  double worst = 0;
  for (double x = 0; x >= -86.99; x -= 0.000731) {
    const float input = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(input));
    worst = std::max(worst, std::abs(ExpNonPositive(input) - exact) / exact);
  }
  EXPECT_LT(worst, 3e-7);
  EXPECT_EQ(ExpNonPositive(0.0f), 1.0f);
  EXPECT_EQ(ExpNonPositive(-0.0f), 1.0f);
  EXPECT_EQ(ExpNonPositive(-87.1f), 0.0f);
  EXPECT_EQ(ExpNonPositive(-kInf), 0.0f);
}

TEST(LogitsMathTest, MaximumIsFoundAtEveryPlaceAndLength) {
  for (int n : {1, 2, 15, 16, 17, 1023, 1024, 1025, 3000}) {
    for (int at = 0; at < n; at += (n > 100 ? 37 : 1)) {
      std::vector<float> logits(n, -5.0f);
      logits[at] = 2.5f;
      if (at > 0) logits[at - 1] = kNan;
      EXPECT_EQ(MaxLogit(logits), 2.5f) << n << " " << at;
      EXPECT_EQ(ArgMaxLogit(logits), at) << n;
    }
  }
}

TEST(LogitsMathTest, EqualMaximaGoToTheLowestIndex) {
  std::vector<float> logits(4000, 0.0f);
  logits[1700] = logits[1701] = logits[3999] = 9.0f;
  EXPECT_EQ(ArgMaxLogit(logits), 1700);
}

TEST(LogitsMathTest, NanAndInfinityHaveAPlace) {
  EXPECT_EQ(MaxLogit({kNan, kNan}), -kInf);
  EXPECT_EQ(ArgMaxLogit({kNan, kNan}), 0);
  EXPECT_EQ(ArgMaxLogit({}), -1);
  EXPECT_EQ(ArgMaxLogit({kNan, -kInf, -3.0f}), 2);
  EXPECT_EQ(ArgMaxLogit({1.0f, kInf, 3.0f, kInf}), 1);
  EXPECT_EQ(MaxLogit({1.0f, kInf}), std::numeric_limits<float>::max());
}

TEST(LogitsMathTest, WeightsAndSumsEqualThePlainComputation) {
  std::mt19937 random(3);
  for (int n : {1, 16, 31, 1024, 5000}) {
    for (float temperature : {0.3f, 1.0f, 2.5f}) {
      std::vector<float> logits(n);
      for (float& logit : logits) logit = static_cast<float>(random() % 20000) / 1000.0f - 10.0f;
      const float max = MaxLogit(logits);
      double expected = 0;
      double expected_plain = 0;
      for (float logit : logits) {
        expected += std::exp((static_cast<double>(logit) - max) / temperature);
        expected_plain += std::exp(static_cast<double>(logit) - max);
      }
      std::vector<float> weights(n);
      EXPECT_NEAR(ExpWeights(logits, max, temperature, absl::MakeSpan(weights)), expected, 4e-6 * expected);
      EXPECT_NEAR(SumExp(logits, max), expected_plain, 2e-6 * expected_plain);
      for (int i = 0; i < n; ++i) {
        const double weight = std::exp((static_cast<double>(logits[i]) - max) / temperature);
        ASSERT_NEAR(weights[i], weight, 1e-5 * weight);
      }
    }
  }
}

TEST(LogitsMathTest, PrefixSearchFindsTheIntervalTheTargetLiesIn) {
  std::vector<float> weights(2000, 0.0f);
  weights[3] = 1.0f;
  weights[600] = 2.0f;
  weights[1999] = 0.5f;
  EXPECT_EQ(PrefixSearch(weights, 0.0), 3);
  EXPECT_EQ(PrefixSearch(weights, 0.999), 3);
  EXPECT_EQ(PrefixSearch(weights, 1.0), 600);
  EXPECT_EQ(PrefixSearch(weights, 2.999), 600);
  EXPECT_EQ(PrefixSearch(weights, 3.0), 1999);
  EXPECT_EQ(PrefixSearch(weights, 3.5), 1999);  // the end: the last possible one
  weights[1999] = 0;
  EXPECT_EQ(PrefixSearch(weights, 100.0), 600);
  EXPECT_EQ(PrefixSearch(std::vector<float>(10, 0.0f), 0.0), -1);
}

}  // namespace
}  // namespace ration
