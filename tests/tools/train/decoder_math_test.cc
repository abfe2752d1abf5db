#include "tools/train/decoder_math.h"

#include <ATen/ATen.h>

#include <cmath>

#include "gtest/gtest.h"

namespace ration {
namespace {

TEST(RmsNorm, DividesByTheRootOfTheMeanSquareWithEpsInside) {
  const at::Tensor x = at::tensor({3.0f, 4.0f}), scale = at::tensor({1.0f, 2.0f});
  const at::Tensor got = RmsNorm(x, scale, 12.5);  // mean square 12.5, so the root of 25
  EXPECT_FLOAT_EQ(got[0].item<float>(), 0.6f);
  EXPECT_FLOAT_EQ(got[1].item<float>(), 1.6f);
}

TEST(SoftCap, StaysBelowTheCapAndLeavesSmallNumbers) {
  const at::Tensor x = at::tensor({-1000.0f, 0.01f, 3.0f});
  const at::Tensor got = SoftCap(x, 2);
  EXPECT_FLOAT_EQ(got[0].item<float>(), -2);
  EXPECT_NEAR(got[1].item<double>(), 0.01, 1e-6);
  EXPECT_FLOAT_EQ(got[2].item<float>(), static_cast<float>(2 * std::tanh(1.5)));
  EXPECT_TRUE(at::equal(SoftCap(x, 0), x));
}

TEST(PlainAttention, TheFirstTokenSeesItselfOnlyAndEqualKeysAreAveraged) {
  const at::Tensor q = at::ones({1, 3, 2, 4}), k = at::zeros({1, 3, 1, 4});
  const at::Tensor v = at::tensor({3.0f, 6.0f, 12.0f}).view({1, 3, 1, 1}).expand({1, 3, 1, 4});
  const at::Tensor out = PlainAttention(q, k, v);
  EXPECT_NEAR(out[0][0][1][0].item<double>(), 3, 1e-6);
  EXPECT_NEAR(out[0][1][0][2].item<double>(), 4.5, 1e-6);
  EXPECT_NEAR(out[0][2][1][3].item<double>(), 7, 1e-6);
}

TEST(PlainAttention, QueryHeadsReadTheKeyHeadOfTheirRun) {
  const at::Tensor q = at::ones({1, 1, 4, 2}), k = at::ones({1, 1, 2, 2});
  const at::Tensor v = at::tensor({1.0f, 2.0f}).view({1, 1, 2, 1}).expand({1, 1, 2, 2});
  const at::Tensor out = PlainAttention(q, k, v);
  for (int h = 0; h < 4; ++h) EXPECT_FLOAT_EQ(out[0][0][h][0].item<float>(), h < 2 ? 1 : 2);
}

TEST(PlainAttention, AWindowHidesWhatLiesBehindIt) {
  const at::Tensor q = at::ones({1, 4, 1, 2}), k = at::zeros({1, 4, 1, 2});
  const at::Tensor v = at::tensor({1.0f, 10.0f, 100.0f, 1000.0f}).view({1, 4, 1, 1}).expand({1, 4, 1, 2});
  AttentionRule rule;
  rule.window = 2;  // a token and the one before it
  const at::Tensor out = PlainAttention(q, k, v, rule).select(3, 0).flatten();
  EXPECT_TRUE(at::allclose(out, at::tensor({1.0f, 5.5f, 55.0f, 550.0f}))) << out;
}

TEST(PlainAttention, ScalesThenCapsThenMasks) {
  // One score of 8 against one of 0, scaled by 1/2 and capped at 3: the weights are those of 3 tanh(4/3) and 0.
  const at::Tensor q = at::tensor({0.0f, 2.0f}).view({1, 2, 1, 1}), k = at::tensor({4.0f, 0.0f}).view({1, 2, 1, 1});
  const at::Tensor v = at::tensor({1.0f, 0.0f}).view({1, 2, 1, 1});
  AttentionRule rule;
  rule.scale = 0.5;
  rule.softcap = 3;
  const at::Tensor out = PlainAttention(q, k, v, rule).flatten();
  EXPECT_FLOAT_EQ(out[0].item<float>(), 1);  // a mask inside the cap would leave the future a share
  EXPECT_NEAR(out[1].item<double>(), 1 / (1 + std::exp(-3 * std::tanh(4.0 / 3))), 1e-6);
}

}  // namespace
}  // namespace ration
