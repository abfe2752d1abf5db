// Norms, RoPE, activations, router scores and casts of every code path of this machine against double precision.
// Tolerances: u = 2^-24. A sum of n products of float32 is off by at most n u times the sum of the absolute products; the
// exponential by 2^-21 of its value; bfloat16 results are the float32 result rounded to nearest even, at most 2^-8 of it further.
#include "kernels/elementwise.h"

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/thread_pool.h"

namespace ration::kernels::cpu {
namespace {

const double kU = std::ldexp(1.0, -24);
constexpr float kCanary = -77.0f;
constexpr uint16_t kCanary16 = 0xa5a5;
constexpr int64_t kDims[] = {1, 3, 8, 15, 16, 17, 63, 64, 65, 172, 512, 1376};
constexpr int64_t kRows[] = {1, 2, 37};

std::vector<float> Random(int64_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

double Slack(double value, double relative) { return std::abs(value) * relative + 1e-36; }

class ElementwiseTest : public testing::TestWithParam<std::tuple<int, int>> {
 protected:
  ElementwiseTest() : pool_(std::get<1>(GetParam())) {}
  void SetUp() override {
    const auto level = static_cast<CpuLevel>(std::get<0>(GetParam()));
    if (level > DetectedCpuLevel()) GTEST_SKIP() << "this processor has no " << Name(level);
    SetCpuLevelForTesting(level);
  }
  void TearDown() override { SetCpuLevelForTesting(DetectedCpuLevel()); }
  ThreadPool pool_;
};

TEST_P(ElementwiseTest, RmsNormAddsTheDeltaAndNormalisesEachRow) {
  for (const int64_t dim : kDims) {
    for (const int64_t rows : kRows) {
      const std::vector<float> x = Random(rows * dim, 1);
      const std::vector<float> delta = Random(rows * dim, 2);
      const std::vector<float> weight = Random(dim, 3);
      for (const bool with_delta : {false, true}) {
        std::vector<float> residual = x;
        residual.push_back(kCanary);
        std::vector<float> out(rows * dim + 1, kCanary);
        std::vector<uint16_t> bf16_out(rows * dim + 1, kCanary16);
        RmsNormParams params;
        params.residual = residual.data();
        params.delta = with_delta ? delta.data() : nullptr;
        params.weight = weight.data();
        params.epsilon = 1e-5f;
        params.out = out.data();
        params.bf16_out = bf16_out.data();
        params.rows = rows;
        params.dim = dim;
        RmsNorm(params, pool_);
        for (int64_t row = 0; row < rows; ++row) {
          double sum = 0;
          for (int64_t i = 0; i < dim; ++i) {
            const float added = x[row * dim + i] + (with_delta ? delta[row * dim + i] : 0.0f);
            ASSERT_EQ(residual[row * dim + i], added);
            sum += static_cast<double>(added) * added;
          }
          const double scale = 1 / std::sqrt(sum / static_cast<double>(dim) + 1e-5);
          for (int64_t i = 0; i < dim; ++i) {
            const double want = residual[row * dim + i] * scale * weight[i];
            ASSERT_NEAR(out[row * dim + i], want, Slack(want, (static_cast<double>(dim) + 8) * kU)) << dim << " " << i;
            ASSERT_EQ(bf16_out[row * dim + i], ToBF16(out[row * dim + i]));
          }
        }
        EXPECT_EQ(residual.back(), kCanary);
        EXPECT_EQ(out.back(), kCanary);
        EXPECT_EQ(bf16_out.back(), kCanary16);
        // Each output alone.
        std::vector<float> only(rows * dim);
        params.residual = residual.data();
        params.delta = nullptr;
        params.out = only.data();
        params.bf16_out = nullptr;
        RmsNorm(params, pool_);
        out.pop_back();
        EXPECT_EQ(only, out);
      }
    }
  }
}

TEST_P(ElementwiseTest, RopeRotatesPairsOfHalvesByThePositionsAngle) {
  for (const int32_t head_dim : {2, 6, 8, 16, 24, 64, 80, 128}) {
    const int32_t heads = 3;
    const int64_t half = head_dim / 2;
    const int64_t stride = heads * head_dim + 7;
    const std::vector<int32_t> positions = {5, 0, 9, 9, 3};
    const std::vector<float> cos = Random(10 * half, 4);
    const std::vector<float> sin = Random(10 * half, 5);
    const std::vector<float> before = Random(positions.size() * stride, 6);
    std::vector<float> x = before;
    RopeParams params;
    params.x = x.data();
    params.row_stride = stride;
    params.rows = static_cast<int64_t>(positions.size());
    params.num_heads = heads;
    params.head_dim = head_dim;
    params.positions = positions.data();
    params.cos = cos.data();
    params.sin = sin.data();
    Rope(params, pool_);
    for (size_t row = 0; row < positions.size(); ++row) {
      for (int64_t i = 0; i < stride; ++i) {
        const int64_t at = static_cast<int64_t>(row) * stride + i;
        if (i >= heads * head_dim) {
          ASSERT_EQ(x[at], before[at]) << "between the rows";
          continue;
        }
        const bool low = i % head_dim < half;
        const int64_t angle = positions[row] * half + i % half;
        const double other = low ? -before[at + half] : before[at - half];
        const double want = static_cast<double>(before[at]) * cos[angle] + other * sin[angle];
        const double size = std::abs(static_cast<double>(before[at]) * cos[angle]) + std::abs(other * sin[angle]);
        ASSERT_NEAR(x[at], want, 3 * kU * size + 1e-30) << head_dim << " row " << row << " " << i;
      }
    }
  }
}

TEST_P(ElementwiseTest, LayerNormAddsTheDeltaAndNormalisesEachRow) {
  for (const int64_t dim : kDims) {
    for (const int64_t rows : kRows) {
      std::vector<float> x = Random(rows * dim, 1);
      for (float& value : x) value += 3;  // a mean that is not small beside the deviation
      const std::vector<float> delta = Random(rows * dim, 2);
      const std::vector<float> weight = Random(dim, 3);
      const std::vector<float> bias = Random(dim, 4);
      for (const int form : {0, 1, 2}) {  // plain, with everything, replacing the residual
        std::vector<float> residual = x;
        residual.push_back(kCanary);
        std::vector<float> out(rows * dim + 1, kCanary);
        std::vector<uint16_t> bf16_out(rows * dim + 1, kCanary16);
        LayerNormParams params;
        params.residual = residual.data();
        params.delta = form >= 1 ? delta.data() : nullptr;
        params.weight = form >= 1 ? weight.data() : nullptr;
        params.bias = form >= 1 ? bias.data() : nullptr;
        params.replace_residual = form == 2;
        params.epsilon = 1e-5f;
        params.out = out.data();
        params.bf16_out = bf16_out.data();
        params.rows = rows;
        params.dim = dim;
        LayerNorm(params, pool_);
        for (int64_t row = 0; row < rows; ++row) {
          std::vector<double> added(dim);
          double mean = 0, magnitude = 0, variance = 0;
          for (int64_t i = 0; i < dim; ++i) {
            added[i] = x[row * dim + i] + (form >= 1 ? delta[row * dim + i] : 0.0f);
            mean += added[i] / static_cast<double>(dim);
            magnitude += std::abs(added[i]) / static_cast<double>(dim);
          }
          for (int64_t i = 0; i < dim; ++i) variance += (added[i] - mean) * (added[i] - mean) / static_cast<double>(dim);
          const double scale = 1 / std::sqrt(variance + 1e-5);
          // The mean is off by at most (dim + 2) u of the mean magnitude, and with it every difference, hence the deviation too.
          const double shift = (static_cast<double>(dim) + 4) * kU * magnitude * scale;
          for (int64_t i = 0; i < dim; ++i) {
            const double w = form >= 1 ? weight[i] : 1, b = form >= 1 ? bias[i] : 0;
            const double normed = (added[i] - mean) * scale;
            const double want = normed * w + b;
            const double relative = (static_cast<double>(dim) + 12) * kU + shift;
            const double slack = (shift + std::abs(normed) * relative) * std::abs(w) + std::abs(want) * 4 * kU + std::abs(b) * kU;
            ASSERT_NEAR(out[row * dim + i], want, slack + 1e-36) << dim << " " << i;
            ASSERT_EQ(bf16_out[row * dim + i], ToBF16(out[row * dim + i]));
            ASSERT_EQ(residual[row * dim + i], form == 2 ? out[row * dim + i] : static_cast<float>(added[i]));
          }
        }
        EXPECT_EQ(residual.back(), kCanary);
        EXPECT_EQ(out.back(), kCanary);
        EXPECT_EQ(bf16_out.back(), kCanary16);
      }
    }
  }
}

TEST_P(ElementwiseTest, AddRowsAddsAndCopies) {
  for (const int64_t dim : kDims) {
    const std::vector<float> x = Random(3 * dim, 1), delta = Random(3 * dim, 2);
    for (const bool with_delta : {false, true}) {
      std::vector<float> residual = x, out(3 * dim + 1, kCanary);
      std::vector<uint16_t> bf16_out(3 * dim + 1, kCanary16);
      AddRowsParams params;
      params.residual = residual.data();
      params.delta = with_delta ? delta.data() : nullptr;
      params.out = out.data();
      params.bf16_out = bf16_out.data();
      params.rows = 3;
      params.dim = dim;
      AddRows(params, pool_);
      for (int64_t i = 0; i < 3 * dim; ++i) {
        ASSERT_EQ(out[i], with_delta ? x[i] + delta[i] : x[i]);
        ASSERT_EQ(residual[i], out[i]);
        ASSERT_EQ(bf16_out[i], ToBF16(out[i]));
      }
      EXPECT_EQ(out.back(), kCanary);
      EXPECT_EQ(bf16_out.back(), kCanary16);
    }
  }
}

TEST_P(ElementwiseTest, SoftCapFollowsTheDefinitionAlsoAtTheExtremes) {
  for (const int64_t count : {int64_t{1}, int64_t{17}, int64_t{40000}}) {
    for (const float cap : {0.5f, 30.0f}) {
      std::vector<float> x = Random(count + 1, 9, 20);
      if (count > 8) {
        const float extremes[] = {0, 1e30f, -1e30f, 1e-6f, -1000};
        std::copy(std::begin(extremes), std::end(extremes), x.begin());
      }
      x.back() = kCanary;
      std::vector<float> capped = x;
      SoftCap(capped.data(), count, cap, pool_);
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_NEAR(capped[i], cap * std::tanh(static_cast<double>(x[i]) / cap), 8 * kU * cap) << x[i];
      }
      EXPECT_EQ(capped.back(), kCanary);
    }
  }
}

TEST_P(ElementwiseTest, GeluAndReluFollowTheirDefinitionsGatedAndNot) {
  for (const Activation activation : {Activation::kGeluTanh, Activation::kRelu, Activation::kSilu}) {
    for (const bool gated : {false, true}) {
      for (const int64_t dim : {int64_t{1}, int64_t{17}, int64_t{1376}, int64_t{40000}}) {
        constexpr int64_t kTestRows = 2;
        const int64_t width = gated ? 2 * dim : dim;
        std::vector<float> in = Random(kTestRows * width, 8, 3);
        if (dim > 8) {
          const float extremes[] = {200, -200, 0, -12, 1e30f, -1e30f};
          std::copy(std::begin(extremes), std::end(extremes), in.begin());
        }
        std::vector<float> out(kTestRows * dim + 1, kCanary);
        std::vector<uint16_t> bf16_out(kTestRows * dim + 1, kCanary16);
        ActivateParams params;
        params.activation = activation;
        params.gated = gated;
        params.in = in.data();
        params.out = out.data();
        params.bf16_out = bf16_out.data();
        params.rows = kTestRows;
        params.dim = dim;
        Activate(params, pool_);
        for (int64_t row = 0; row < kTestRows; ++row) {
          for (int64_t i = 0; i < dim; ++i) {
            const double x = in[row * width + i];
            const double up = gated ? in[row * width + dim + i] : 1.0;
            // 1 + tanh(z) is written as 2 / (1 + e^-2z): near tanh(z) = -1 the sum cancels even in double precision.
            const double cubic = 2 * std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
            const double exponent = activation == Activation::kGeluTanh ? cubic : x;
            const double want = (activation == Activation::kRelu ? std::max(x, 0.0) : x / (1 + std::exp(-exponent))) * up;
            // As for the gated SiLU: the exponent's rounding, up to 8 u of it, is the result's relative error; far below zero the
            // result is about 0 and counts absolutely.
            const double relative = std::ldexp(1.0, -21) + (8 * std::min(std::abs(exponent), 127.0) + 8) * kU;
            const double slack = exponent < -80 ? std::abs(x * up) * 1e-34 : Slack(want, relative);
            ASSERT_NEAR(out[row * dim + i], want, slack) << dim << " " << x;
            ASSERT_EQ(bf16_out[row * dim + i], ToBF16(out[row * dim + i]));
          }
        }
        EXPECT_EQ(out.back(), kCanary);
        EXPECT_EQ(bf16_out.back(), kCanary16);
      }
    }
  }
}

TEST_P(ElementwiseTest, GatedSiluFollowsTheDefinitionAlsoAtTheExtremes) {
  for (const int64_t dim : {int64_t{1}, int64_t{17}, int64_t{64}, int64_t{1376}, int64_t{40000}}) {
    for (const int64_t rows : {int64_t{1}, int64_t{3}}) {
      std::vector<float> gate_up = Random(rows * 2 * dim, 7, 8);
      gate_up[0] = 200;
      if (dim > 8) {
        gate_up[1] = -200;
        gate_up[2] = 0;
        gate_up[3] = -90;
        gate_up[4] = 1e30f;
        gate_up[5] = -1e30f;
      }
      std::vector<float> out(rows * dim + 1, kCanary);
      std::vector<uint16_t> bf16_out(rows * dim + 1, kCanary16);
      ActivateParams params;
      params.in = gate_up.data();
      params.out = out.data();
      params.bf16_out = bf16_out.data();
      params.rows = rows;
      params.dim = dim;
      Activate(params, pool_);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < dim; ++i) {
          const double gate = gate_up[row * 2 * dim + i];
          const double up = gate_up[row * 2 * dim + dim + i];
          const double want = gate / (1 + std::exp(-gate)) * up;
          // e^-gate comes as 2^(-gate log2(e)): its argument, up to 127, is off by u of itself. Below e^-87 the result is
          // about 0 and counts absolutely.
          const double slack = gate < -80 ? std::abs(gate * up) * 1e-34 : Slack(want, std::ldexp(1.0, -21) + 160 * kU);
          ASSERT_NEAR(out[row * dim + i], want, slack) << dim << " gate " << gate;
          ASSERT_EQ(bf16_out[row * dim + i], ToBF16(out[row * dim + i]));
        }
      }
      EXPECT_EQ(out.back(), kCanary);
      EXPECT_EQ(bf16_out.back(), kCanary16);
    }
  }
}

TEST_P(ElementwiseTest, RouterScoresAreSigmoidsAndDependOnTheirRowAlone) {
  for (const int64_t dim : kDims) {
    for (const int32_t experts : {1, 3, 8}) {
      const int64_t rows = 37;
      const std::vector<float> x = Random(rows * dim, 8);
      const std::vector<float> weight = Random(experts * dim, 9, 0.3f);
      const std::vector<float> bias = Random(experts, 10);
      std::vector<float> scores(rows * experts + 1, kCanary);
      RouterScoresParams params;
      params.x = x.data();
      params.weight = weight.data();
      params.bias = bias.data();
      params.scores = scores.data();
      params.rows = rows;
      params.dim = dim;
      params.num_experts = experts;
      RouterScores(params, pool_);
      EXPECT_EQ(scores.back(), kCanary);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t e = 0; e < experts; ++e) {
          double sum = bias[e];
          double size = std::abs(sum);
          for (int64_t i = 0; i < dim; ++i) {
            const double product = static_cast<double>(x[row * dim + i]) * weight[e * dim + i];
            sum += product;
            size += std::abs(product);
          }
          // The sigmoid's slope is at most 1/4.
          ASSERT_NEAR(scores[row * experts + e], 1 / (1 + std::exp(-sum)), size * (static_cast<double>(dim) + 2) * kU / 4 + 4 * kU);
        }
        std::vector<float> alone(experts);
        RouterScoresParams one = params;
        one.x = x.data() + row * dim;
        one.scores = alone.data();
        one.rows = 1;
        RouterScores(one, pool_);
        ASSERT_EQ(alone, std::vector<float>(scores.begin() + row * experts, scores.begin() + (row + 1) * experts));
      }
    }
  }
}

TEST_P(ElementwiseTest, CastRoundsToNearestEvenAndKeepsSpecialValues) {
  for (const int64_t count : {0, 1, 15, 16, 17, 1000, 50000}) {
    std::vector<float> in = Random(count, 12, 100);
    if (count >= 15) {
      in[0] = std::numeric_limits<float>::infinity();
      in[1] = -in[0];
      in[2] = std::numeric_limits<float>::quiet_NaN();
      in[3] = 1.00390625f;  // halfway: to even, down
      in[4] = 1.01171875f;  // halfway: to even, up
      in[5] = std::numeric_limits<float>::max();
      in[6] = std::numeric_limits<float>::denorm_min();
      in[7] = -0.0f;
      in[8] = 1e-40f;
    }
    std::vector<uint16_t> out(count + 1, kCanary16);
    CastToBF16(in.data(), out.data(), count, pool_);
    for (int64_t i = 0; i < count; ++i) ASSERT_EQ(out[i], ToBF16(in[i])) << in[i];
    EXPECT_EQ(out[count], kCanary16);
    if (count >= 15) {
      EXPECT_EQ(FromBF16(out[3]), 1.0f);
      EXPECT_EQ(FromBF16(out[4]), 1.015625f);
      EXPECT_TRUE(std::isnan(FromBF16(out[2])));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, ElementwiseTest, testing::Combine(testing::Range(0, kNumCpuLevels), testing::Values(1, 2)),
                         [](const testing::TestParamInfo<std::tuple<int, int>>& info) {
                           return std::string(Name(static_cast<CpuLevel>(std::get<0>(info.param)))) + "_" +
                                  std::to_string(std::get<1>(info.param)) + "threads";
                         });

}  // namespace
}  // namespace ration::kernels::cpu
