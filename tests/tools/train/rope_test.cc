#include "tools/train/rope.h"

#include <ATen/ATen.h>

#include <cmath>

#include "gtest/gtest.h"

namespace ration {
namespace {

double Angle(const RopeRule& rule, int64_t head_dim, int64_t length, int64_t position, int64_t pair) {
  return RopeAngles(rule, head_dim, length)[position][pair].item<double>();
}

TEST(RopeAngles, TurnOneRadianAPositionInTheFirstPair) {
  const at::Tensor angles = RopeAngles(RopeRule(), 8, 5);
  ASSERT_EQ(angles.sizes(), (at::IntArrayRef{5, 4}));
  EXPECT_FLOAT_EQ(angles[3][0].item<float>(), 3);
  EXPECT_FLOAT_EQ(angles[3][1].item<float>(), 0.3f);
  EXPECT_FLOAT_EQ(angles[0][2].item<float>(), 0);
}

TEST(RopeAngles, LinearScalingDividesPositions) {
  RopeRule rule;
  rule.type = RopeRule::Type::kLinear;
  rule.factor = 4;
  const at::Tensor plain = RopeAngles(RopeRule(), 16, 40), scaled = RopeAngles(rule, 16, 40);
  for (int64_t t = 0; t < 40; t += 4) EXPECT_TRUE(at::allclose(scaled[t], plain[t / 4], 1e-5, 1e-7)) << t;
  EXPECT_FLOAT_EQ(scaled[2][0].item<float>(), 0.5f);
}

TEST(RopeAngles, DynamicScalingIsPlainUpToTheContextAndStretchesBeyond) {
  RopeRule rule;
  rule.type = RopeRule::Type::kDynamic;
  rule.factor = 2;
  rule.original_positions = 32;
  EXPECT_TRUE(at::equal(RopeAngles(rule, 8, 32), RopeAngles(RopeRule(), 8, 32)));
  // At 48 tokens the base is 10000 * (2 * 48 / 32 - 1)^(8 / 6) = 10000 * 2^(4/3): pair i turns by base^(-i/4).
  const double base = 10000 * std::pow(2, 4.0 / 3);
  EXPECT_NEAR(Angle(rule, 8, 48, 1, 0), 1, 1e-7);
  EXPECT_NEAR(Angle(rule, 8, 48, 1, 1), std::pow(base, -0.25), 1e-7);
  EXPECT_NEAR(Angle(rule, 8, 48, 10, 3), 10 * std::pow(base, -0.75), 1e-7);
  // The length counts, not the position.
  EXPECT_NE(Angle(rule, 8, 33, 31, 1), Angle(rule, 8, 32, 31, 1));
}

TEST(RopeAngles, Llama3KeepsShortWavesStretchesLongOnesAndBlendsBetween) {
  RopeRule rule;
  rule.type = RopeRule::Type::kLlama3;
  rule.factor = 8;
  rule.low_freq_factor = 1;
  rule.high_freq_factor = 4;
  constexpr double kTwoPi = 6.283185307179586;
  // Pair 1 of a head of 4 turns by theta^(-1/2) a position, so by `turns` over the original context.
  const auto scaled = [&](double turns) {
    rule.original_positions = 1000;
    const double frequency = turns * kTwoPi / 1000;
    rule.theta = 1 / (frequency * frequency);
    return Angle(rule, 4, 2, 1, 1) / frequency;
  };
  EXPECT_NEAR(scaled(4.01), 1, 1e-5);
  EXPECT_NEAR(scaled(0.99), 1.0 / 8, 1e-5);
  EXPECT_NEAR(scaled(2.5), 0.5 + 0.5 / 8, 1e-5);  // half-way
}

TEST(Rotate, TurnsThePairsOfTheTwoHalves) {
  const at::Tensor x = at::tensor({1.0f, 2.0f, 0.0f, 0.0f}).view({1, 1, 1, 4});  // pairs (1, 0) and (2, 0)
  const at::Tensor out = Rotate(x, at::tensor({M_PI / 2, 0.0}).to(at::kFloat).view({1, 2})).flatten();
  EXPECT_TRUE(at::allclose(out, at::tensor({0.0f, 2.0f, 1.0f, 0.0f}), 0, 1e-6)) << out;
}

}  // namespace
}  // namespace ration
