// The packed matrix product at every instruction set this machine has: against double precision with derived
// tolerances, and bit for bit against itself under other row counts, places and thread counts.
#include "kernels/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/gemm/amx_micro_kernel.h"
#include "kernels/cpu/gemm/amx_tiles.h"
#include "kernels/cpu/gemm/gemm_with.h"
#include "kernels/cpu/thread_pool.h"

namespace ration::kernels {
namespace {

// A product with its inputs, owned.
struct Problem {
  std::vector<uint8_t> panels_memory;
  PackedWeights weights;
  std::vector<float> bias;
  std::vector<uint8_t> x;  // [rows, in] of weights.dtype
  int64_t rows = 0;

  GemmParams Params(int64_t row_begin, int64_t num_rows, float* y) const {
    GemmParams params;
    params.weights = weights;
    params.bias = bias.empty() ? nullptr : bias.data();
    params.x = x.data() + row_begin * weights.in * SizeOf(weights.dtype);
    params.rows = num_rows;
    params.y = y;
    return params;
  }
};

std::vector<uint8_t> RandomElements(int64_t count, DType dtype, std::mt19937* rng) {
  std::normal_distribution<float> normal;
  std::vector<uint8_t> bytes(count * SizeOf(dtype));
  for (int64_t i = 0; i < count; ++i) {
    const float value = normal(*rng);
    const uint16_t rounded = ToBF16(value);
    if (dtype == DType::kF32) {
      std::memcpy(&bytes[i * 4], &value, 4);
    } else {
      std::memcpy(&bytes[i * 2], &rounded, 2);
    }
  }
  return bytes;
}

Problem MakeProblem(int64_t rows, int64_t in, int64_t out, DType dtype, bool bias) {
  std::mt19937 rng(static_cast<unsigned>(rows * 7919 + in * 104729 + out));
  Problem problem;
  problem.rows = rows;
  problem.weights.dtype = dtype;
  problem.weights.in = in;
  problem.weights.out = out;
  problem.weights.in_padded = PaddedIn(in, dtype);
  problem.panels_memory.resize(problem.weights.num_bytes() + 64);
  uint8_t* data = problem.panels_memory.data();
  data += (64 - reinterpret_cast<uintptr_t>(data) % 64) % 64;
  problem.weights.data = data;
  const std::vector<uint8_t> stored = RandomElements(in * out, dtype, &rng);
  for (int64_t panel = 0; panel < problem.weights.num_panels(); ++panel) {
    cpu::PanelSource source = {};
    for (int64_t c = 0; c < kPanelColumns && panel * kPanelColumns + c < out; ++c) {
      source.columns[c] = stored.data() + (panel * kPanelColumns + c) * in * SizeOf(dtype);
      source.types[c] = dtype == DType::kF32 ? SourceType::kF32 : SourceType::kBF16;
    }
    cpu::PackPanel(source, in, dtype, data + panel * problem.weights.panel_bytes());
  }
  if (bias) {
    for (int64_t i = 0; i < out; ++i) problem.bias.push_back(std::normal_distribution<float>()(rng));
  }
  problem.x = RandomElements(rows * in, dtype, &rng);
  return problem;
}

// The same weights and inputs without their signs: the reference's result bounds every partial sum.
Problem Magnitudes(const Problem& problem) {
  Problem result = problem;
  uint8_t* data = result.panels_memory.data();
  data += (64 - reinterpret_cast<uintptr_t>(data) % 64) % 64;
  std::memcpy(data, problem.weights.data, problem.weights.num_bytes());
  result.weights.data = data;
  const int64_t size = SizeOf(problem.weights.dtype);
  for (int64_t i = size - 1; i < problem.weights.num_bytes(); i += size) data[i] &= 0x7f;
  for (size_t i = size - 1; i < result.x.size(); i += size) result.x[i] &= 0x7f;
  for (float& value : result.bias) value = std::fabs(value);
  return result;
}

struct Setting {
  std::string name;
  DType dtype;
  cpu::CpuLevel level = cpu::CpuLevel::kPortable;
  const cpu::MicroKernels* kernels = nullptr;  // if given, instead of the level's
};

std::vector<Setting> Settings() {
  std::vector<Setting> settings;
  for (int i = 0; i < cpu::kNumCpuLevels; ++i) {
    const auto level = static_cast<cpu::CpuLevel>(i);
    if (!cpu::GemmLevelSupported(level)) continue;
    settings.push_back({cpu::Name(level), DType::kF32, level});
    settings.push_back({cpu::Name(level), DType::kBF16, level});
  }
  settings.push_back({"emulated AMX", DType::kBF16, {}, cpu::AmxMicroKernel<cpu::EmulatedTiles>::Kernels()});
  return settings;
}

std::string SettingName(const testing::TestParamInfo<Setting>& info) {
  std::string name = info.param.name + Name(info.param.dtype);
  name.erase(
      std::remove_if(name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }),
      name.end());
  return name;
}

class GemmTest : public testing::TestWithParam<Setting> {
 protected:
  void Gemm(const GemmParams& params, cpu::ThreadPool& pool) {
    if (GetParam().kernels != nullptr) {
      cpu::GemmWith(params, *GetParam().kernels, pool);
    } else {
      cpu::Gemm(params, GetParam().level, pool);
    }
  }

  void ExpectMatchesReference(const Problem& problem, cpu::ThreadPool* pool) {
    const int64_t out = problem.weights.out;
    std::vector<float> expected(problem.rows * out), bound(problem.rows * out);
    reference::Gemm(problem.Params(0, problem.rows, expected.data()));
    const Problem magnitudes = Magnitudes(problem);
    reference::Gemm(magnitudes.Params(0, problem.rows, bound.data()));
    // One float past the end shows writes beyond y.
    std::vector<float> y(problem.rows * out + 1, -7.0f);
    Gemm(problem.Params(0, problem.rows, y.data()), *pool);
    EXPECT_EQ(y.back(), -7.0f);
    // n float32 roundings of partial sums, none larger than the sum of magnitudes: |error| <= n u / (1 - n u) *
    // magnitudes, with one rounding a product, one an addition, one for the bias and one for the reference's own last
    // rounding. Denormals may be flushed to zero.
    const double n = problem.weights.in + 4, unit = std::ldexp(1, -24);
    for (int64_t i = 0; i < problem.rows * out; ++i) {
      const double tolerance = n * unit / (1 - n * unit) * bound[i] + n * std::ldexp(1, -126);
      ASSERT_NEAR(y[i], expected[i], tolerance) << "row " << i / out << " column " << i % out << " of " << problem.rows
                                                << " x " << problem.weights.in << " x " << out;
    }
  }
};

TEST_P(GemmTest, MatchesDoublePrecisionOverOddShapes) {
  cpu::ThreadPool pool(2);
  const int64_t shapes[][2] = {{1, 1},    {2, 3},    {3, 17},   {31, 32},  {33, 33},  {64, 100},
                               {127, 31}, {129, 65}, {172, 64}, {257, 47}, {520, 96}, {1031, 16}};
  for (const auto& shape : shapes) {
    for (int64_t rows : {0, 1, 2, 3, 5, 7, 12, 13, 16, 17, 33, 64, 65}) {
      ExpectMatchesReference(MakeProblem(rows, shape[0], shape[1], GetParam().dtype, (rows + shape[0]) % 2 == 0),
                             &pool);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(GemmTest, MatchesDoublePrecisionOverManyRowsAndThreads) {
  for (int num_threads : {1, 2, 3}) {
    cpu::ThreadPool pool(num_threads);
    ExpectMatchesReference(MakeProblem(257, 300, 210, GetParam().dtype, true), &pool);
    ExpectMatchesReference(MakeProblem(516, 65, 33, GetParam().dtype, false), &pool);
    ExpectMatchesReference(MakeProblem(3, 1030, 700, GetParam().dtype, true), &pool);
    if (HasFatalFailure()) return;
  }
}

TEST_P(GemmTest, ARowsResultDoesNotDependOnTheBatchOrTheThreads) {
  // Wide enough to be shared between threads, deep enough for several blocks along k, more rows than one chunk holds.
  const Problem problem = MakeProblem(300, 600, 230, GetParam().dtype, true);
  const int64_t out = problem.weights.out;
  cpu::ThreadPool one(1), two(2), three(3);
  std::vector<float> expected(problem.rows * out);
  for (int64_t row = 0; row < problem.rows; ++row) {
    Gemm(problem.Params(row, 1, &expected[row * out]), one);
  }
  std::vector<float> y(problem.rows * out);
  for (cpu::ThreadPool* pool : {&one, &two, &three}) {
    for (int64_t rows : {1, 2, 3, 4, 5, 8, 11, 12, 13, 16, 17, 25, 31, 32, 33, 65, 257, 300}) {
      for (int64_t begin : {int64_t{0}, (problem.rows - rows) / 2, problem.rows - rows}) {
        std::fill(y.begin(), y.end(), 0.0f);
        Gemm(problem.Params(begin, rows, y.data()), *pool);
        ASSERT_EQ(0, std::memcmp(y.data(), &expected[begin * out], rows * out * sizeof(float)))
            << rows << " rows from " << begin << ", " << pool->num_threads() << " threads";
      }
    }
  }
}

// Not-a-number in one row must stay there: rows share registers and tiles.
TEST_P(GemmTest, NotANumberStaysInItsRow) {
  Problem problem = MakeProblem(20, 96, 64, GetParam().dtype, false);
  std::vector<float> expected(20 * 64), y(20 * 64);
  cpu::ThreadPool pool(1);
  Gemm(problem.Params(0, 20, expected.data()), pool);
  const int64_t size = SizeOf(GetParam().dtype);
  for (int64_t k = 0; k < 96; ++k) std::memset(&problem.x[(3 * 96 + k) * size], 0xff, size);
  Gemm(problem.Params(0, 20, y.data()), pool);
  for (int64_t i = 0; i < 20 * 64; ++i) {
    if (i / 64 == 3) {
      ASSERT_TRUE(std::isnan(y[i]));
    } else {
      ASSERT_EQ(y[i], expected[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, GemmTest, testing::ValuesIn(Settings()), SettingName);

TEST(GemmLevelTest, TheBestLevelIsSupportedAndPortableAlwaysIs) {
  EXPECT_TRUE(cpu::GemmLevelSupported(cpu::BestGemmLevel()));
  EXPECT_TRUE(cpu::GemmLevelSupported(cpu::CpuLevel::kPortable));
}

TEST(PackPanelTest, PutsEveryElementInItsPlaceAndZerosElsewhere) {
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    for (int64_t in : {1, 2, 31, 32, 63, 64, 65, 97}) {
      std::vector<float> rows(3 * in);
      for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(i % 251) + 1;
      cpu::PanelSource source = {};
      const int column_of[3] = {0, 7, 31};
      for (int i = 0; i < 3; ++i) {
        source.columns[column_of[i]] = &rows[i * in];
        source.types[column_of[i]] = SourceType::kF32;
      }
      const int64_t padded = PaddedIn(in, dtype);
      std::vector<uint8_t> panel(padded * kPanelColumns * SizeOf(dtype), 0xff);
      cpu::PackPanel(source, in, dtype, panel.data());
      for (int64_t k = 0; k < padded; ++k) {
        for (int64_t c = 0; c < kPanelColumns; ++c) {
          float value;
          if (dtype == DType::kF32) {
            std::memcpy(&value, &panel[(k * kPanelColumns + c) * 4], 4);
          } else {
            uint16_t stored;
            std::memcpy(&stored, &panel[((k / 2 * kPanelColumns + c) * 2 + k % 2) * 2], 2);
            value = FromBF16(stored);
          }
          const int i = c == 0 ? 0 : c == 7 ? 1 : c == 31 ? 2 : -1;
          ASSERT_EQ(value, i < 0 || k >= in ? 0.0f : rows[i * in + k]) << "k " << k << " column " << c << " of " << in;
        }
      }
    }
  }
}

// Every float16 is a float32; the bit patterns are read from addresses that are not aligned, as in a file.
TEST(PackPanelTest, ConvertsEveryFloat16) {
  std::vector<uint8_t> stored(1 + 65536 * 2);
  for (int i = 0; i < 65536; ++i) {
    const uint16_t half = static_cast<uint16_t>(i);
    std::memcpy(&stored[1 + i * 2], &half, 2);
  }
  cpu::PanelSource source = {};
  source.columns[5] = &stored[1];
  source.types[5] = SourceType::kF16;
  std::vector<uint8_t> panel(65536 * kPanelColumns * 4);
  cpu::PackPanel(source, 65536, DType::kF32, panel.data());
  for (int i = 0; i < 65536; ++i) {
    const int exponent = i >> 10 & 31, mantissa = i & 1023;
    double expected = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    if (exponent == 31) expected = mantissa == 0 ? HUGE_VAL : NAN;
    float value;
    std::memcpy(&value, &panel[(static_cast<int64_t>(i) * kPanelColumns + 5) * 4], 4);
    ASSERT_EQ(std::signbit(value), i >= 32768) << i;
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << i;
    } else {
      ASSERT_EQ(std::fabs(value), expected) << i;
    }
  }
}

}  // namespace
}  // namespace ration::kernels
