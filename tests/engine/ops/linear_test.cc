// Linear against double precision products of LibTorch: stacked weights of mixed stored dtypes, biases, odd sizes; bad
// tensors are refused by name.
#include "engine/ops/linear.h"

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "gtest/gtest.h"

namespace ration {
namespace {

using kernels::DType;
using kernels::cpu::CpuLevel;
using kernels::cpu::ThreadPool;

std::vector<CpuLevel> SupportedLevels() {
  std::vector<CpuLevel> levels;
  for (CpuLevel level :
       {CpuLevel::kPortable, CpuLevel::kAvx2, CpuLevel::kAvx512, CpuLevel::kAvx512BF16, CpuLevel::kAmx}) {
    if (kernels::cpu::GemmLevelSupported(level)) levels.push_back(level);
  }
  return levels;
}

at::ScalarType TorchType(DType dtype) { return dtype == DType::kF32 ? at::kFloat : at::kBFloat16; }

// Options of `weights` (already in their stored dtypes) that run on `pool`.
Linear::Options MakeOptions(std::vector<at::Tensor> weights, std::vector<at::Tensor> biases, DType compute,
                            ThreadPool* pool) {
  Linear::Options options;
  options.weights = std::move(weights);
  options.biases = std::move(biases);
  options.compute = compute;
  options.pool = pool;
  return options;
}

at::Tensor Forward(const Linear& linear, const at::Tensor& x) {
  at::Tensor y = at::full({x.size(0), linear.out_features()}, -7.0f, at::kFloat);
  linear.Forward(x.data_ptr(), x.size(0), y.data_ptr<float>());
  return y;
}

// y within the sum of the roundings of `in` float32 additions and products of the exact result.
void ExpectClose(const at::Tensor& y, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor expected = at::linear(x.to(at::kDouble), weight, bias);
  const at::Tensor magnitude = at::linear(x.to(at::kDouble).abs(), weight.abs(), bias.abs());
  const at::Tensor tolerance = magnitude * ((x.size(1) + 4) * std::ldexp(1, -24) * 1.01) + 1e-30;
  ASSERT_TRUE(at::all((y.to(at::kDouble) - expected).abs() <= tolerance).item<bool>())
      << "largest error " << (y.to(at::kDouble) - expected).abs().max().item<double>() << " of " << x.size(0)
      << " rows";
}

struct Case {
  CpuLevel level;
  DType compute;
};

class LinearTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { at::manual_seed(20); }
  Linear::Options AtLevel(Linear::Options options) {
    options.level = GetParam().level;
    return options;
  }
  // What the layer multiplies with: the stored weight rounded to the compute dtype.
  at::Tensor Rounded(const at::Tensor& stored) {
    return stored.to(at::kFloat).to(TorchType(GetParam().compute)).to(at::kDouble);
  }
};

TEST_P(LinearTest, StackedWeightsOfMixedDtypesAndBiasesMatchDoublePrecision) {
  ThreadPool pool(2);
  for (int64_t in : {1, 7, 64, 172, 1376}) {
    const std::vector<at::Tensor> weights = {at::randn({33, in}), at::randn({5, in}).to(at::kHalf),
                                             at::randn({90, in}).to(at::kBFloat16)};
    const std::vector<at::Tensor> biases = {at::randn({33}).to(at::kBFloat16), at::Tensor(), at::randn({90})};
    auto linear = Linear::Create(AtLevel(MakeOptions(weights, biases, GetParam().compute, &pool)));
    ASSERT_TRUE(linear.ok()) << linear.status();
    EXPECT_EQ((*linear)->in_features(), in);
    EXPECT_EQ((*linear)->out_features(), 128);
    EXPECT_EQ((*linear)->compute(), GetParam().compute);
    EXPECT_GE((*linear)->weight_bytes(), 128 * in * SizeOf(GetParam().compute));
    const at::Tensor weight = at::cat({Rounded(weights[0]), Rounded(weights[1]), Rounded(weights[2])});
    const at::Tensor bias =
        at::cat({biases[0].to(at::kDouble), at::zeros({5}, at::kDouble), biases[2].to(at::kDouble)});
    for (int64_t rows : {0, 1, 2, 3, 5, 16, 17, 64, 65, 257}) {
      const at::Tensor x = at::randn({rows, in}).to(TorchType(GetParam().compute));
      ExpectClose(Forward(**linear, x), x, weight, bias);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(LinearTest, ARequestsRowIsTheSameAloneAndInAnyBatch) {
  ThreadPool one(1), two(2);
  const std::vector<at::Tensor> weights = {at::randn({512, 600}), at::randn({100, 600}).to(at::kBFloat16)};
  auto alone = Linear::Create(AtLevel(MakeOptions(weights, {}, GetParam().compute, &one)));
  auto shared = Linear::Create(AtLevel(MakeOptions(weights, {}, GetParam().compute, &two)));
  ASSERT_TRUE(alone.ok() && shared.ok());
  const at::Tensor x = at::randn({270, 600}).to(TorchType(GetParam().compute));
  const at::Tensor all = Forward(**shared, x);
  for (int64_t row : {0, 1, 5, 11, 12, 100, 255, 256, 269}) {
    EXPECT_TRUE(at::equal(Forward(**alone, x.slice(0, row, row + 1)), all.slice(0, row, row + 1))) << row;
    if (row >= 250) continue;
    EXPECT_TRUE(at::equal(Forward(**shared, x.slice(0, row, row + 19)), all.slice(0, row, row + 19))) << row;
  }
}

TEST_P(LinearTest, TransposedAndUnalignedWeightsAreReadAsTheirValues) {
  ThreadPool pool(1);
  const at::Tensor transposed = at::randn({40, 24}).t();
  // As in a safetensors file whose header leaves the data at an odd address.
  std::vector<uint8_t> bytes(24 * 40 * 2 + 1);
  const at::Tensor stored = at::randn({24, 40}).to(at::kBFloat16);
  std::memcpy(bytes.data() + 1, stored.data_ptr(), 24 * 40 * 2);
  const at::Tensor unaligned = at::from_blob(bytes.data() + 1, {24, 40}, at::TensorOptions(at::kBFloat16));
  auto linear = Linear::Create(AtLevel(MakeOptions({transposed, unaligned}, {}, GetParam().compute, &pool)));
  ASSERT_TRUE(linear.ok()) << linear.status();
  const at::Tensor x = at::randn({3, 40}).to(TorchType(GetParam().compute));
  ExpectClose(Forward(**linear, x), x, at::cat({Rounded(transposed.contiguous()), Rounded(stored)}),
              at::zeros({48}, at::kDouble));
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (CpuLevel level : SupportedLevels()) {
    cases.push_back({level, DType::kF32});
    cases.push_back({level, DType::kBF16});
  }
  return cases;
}

std::string CaseName(const testing::TestParamInfo<Case>& info) {
  static const char* const kNames[] = {"Portable", "Avx2", "Avx512", "Avx512Bf16", "Amx"};
  return std::string(kNames[static_cast<int>(info.param.level)]) + kernels::Name(info.param.compute);
}

INSTANTIATE_TEST_SUITE_P(Levels, LinearTest, testing::ValuesIn(Cases()), CaseName);

TEST(LinearCreateTest, RefusesBadTensorsByName) {
  ThreadPool pool(1);
  const at::Tensor good = at::zeros({4, 8});
  const auto message = [&](std::vector<at::Tensor> weights, std::vector<at::Tensor> biases) {
    auto linear = Linear::Create(MakeOptions(std::move(weights), std::move(biases), DType::kF32, &pool));
    EXPECT_EQ(linear.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(linear.status().message());
  };
  EXPECT_EQ(message({}, {}), "a linear layer needs at least one weight");
  EXPECT_EQ(message({at::Tensor()}, {}), "weight 0 of a linear layer must have 2 dimensions, has 0");
  EXPECT_EQ(message({good, at::zeros({8})}, {}), "weight 1 of a linear layer must have 2 dimensions, has 1");
  EXPECT_EQ(message({good, at::zeros({4, 9})}, {}), "weight 1 of a linear layer has shape [4, 9], wanted [>= 1, 8]");
  EXPECT_EQ(message({at::zeros({0, 8})}, {}), "weight 0 of a linear layer has shape [0, 8], wanted [>= 1, 8]");
  EXPECT_EQ(message({good.to(at::kDouble)}, {}),
            "weight 0 of a linear layer has dtype Double, wanted float32, float16 or bfloat16");
  EXPECT_EQ(message({good, good}, {at::zeros({4})}), "a linear layer of 2 weights has 1 biases");
  EXPECT_EQ(message({good}, {at::zeros({5})}), "bias 0 of a linear layer has 5 elements in 1 dimensions, wanted [4]");
}

TEST(LinearCreateTest, RefusesALevelThisMachineDoesNotHave) {
  if (kernels::cpu::GemmLevelSupported(CpuLevel::kAmx)) GTEST_SKIP() << "this machine has every level";
  ThreadPool pool(1);
  Linear::Options options = MakeOptions({at::zeros({4, 8})}, {}, DType::kBF16, &pool);
  options.level = CpuLevel::kAmx;
  EXPECT_EQ(Linear::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ration
