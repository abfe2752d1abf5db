// The row kernels, written once over a policy of vector operations (../simd).
// Layer: kernels/cpu/elementwise (private). Unnamed namespace: each file that includes this is compiled for its own instruction
// set. See row_kernels.h for what each function does.
#ifndef RATION_KERNELS_CPU_ELEMENTWISE_SIMD_ROW_KERNELS_H_
#define RATION_KERNELS_CPU_ELEMENTWISE_SIMD_ROW_KERNELS_H_

#include <stdint.h>

#include "kernels/cpu/elementwise/row_kernels.h"

namespace ration::kernels::cpu {
namespace {

template <class Simd>
struct Rows {
  using Vec = typename Simd::Vec;
  static constexpr int kLanes = Simd::kLanes;

  // Calls body(i, n) for consecutive vectors: n == kLanes for all but perhaps the last.
  template <typename Body>
  static inline void ForVectors(int64_t count, const Body& body) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) body(i, kLanes);
    if (i < count) body(i, static_cast<int>(count - i));
  }
  static Vec Load(const float* p, int n) { return n == kLanes ? Simd::Load(p) : Simd::LoadN(p, n); }
  static void Store(float* p, Vec v, int n) {
    if (n == kLanes) {
      Simd::Store(p, v);
    } else {
      Simd::StoreN(p, v, n);
    }
  }
  static void StoreResult(Vec v, int64_t i, int n, float* out, uint16_t* bf16_out) {
    if (out != nullptr) Store(out + i, v, n);
    if (bf16_out != nullptr) Simd::StoreBF16N(bf16_out + i, v, n);
  }

  // Calls add(i, n, sum) for the vectors of a row and returns the sum over all lanes. Four sums hide the latency of a multiply-add.
  template <typename Add>
  static inline float Sum(int64_t dim, const Add& add) {
    Vec sums[4] = {Simd::Zero(), Simd::Zero(), Simd::Zero(), Simd::Zero()};
    int64_t i = 0;
    for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
      for (int k = 0; k < 4; ++k) add(i + k * kLanes, kLanes, sums[k]);
    }
    for (; i + kLanes <= dim; i += kLanes) add(i, kLanes, sums[0]);
    if (i < dim) add(i, static_cast<int>(dim - i), sums[1]);
    return Simd::ReduceSum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
  static inline Vec LoadSum(float* residual, const float* delta, int64_t i, int n) {
    Vec x = Load(residual + i, n);
    if (delta != nullptr) {
      x = x + Load(delta + i, n);
      Store(residual + i, x, n);
    }
    return x;
  }

  static void RmsNorm(float* residual, const float* delta, const float* weight, float epsilon, int64_t dim, float* out,
                      uint16_t* bf16_out) {
    const float sum = Sum(dim, [&](int64_t i, int n, Vec& s) {
      const Vec x = LoadSum(residual, delta, i, n);
      s = Simd::MulAdd(x, x, s);
    });
    const Vec scale = Simd::Set1(1.0f / __builtin_sqrtf(sum / static_cast<float>(dim) + epsilon));
    ForVectors(dim, [&](int64_t j, int n) {
      StoreResult(Load(residual + j, n) * scale * Load(weight + j, n), j, n, out, bf16_out);
    });
  }

  static void LayerNorm(float* residual, const float* delta, const float* weight, const float* bias, float epsilon, bool replace,
                        int64_t dim, float* out, uint16_t* bf16_out) {
    const float total = Sum(dim, [&](int64_t i, int n, Vec& s) { s = s + LoadSum(residual, delta, i, n); });
    const Vec mean = Simd::Set1(total / static_cast<float>(dim));
    // From the differences: the squares' mean less the mean's square cancels where the mean is large.
    const float squares = Sum(dim, [&](int64_t i, int n, Vec& s) {
      const Vec x = Simd::FirstLanes(Load(residual + i, n) - mean, n, Simd::Zero());
      s = Simd::MulAdd(x, x, s);
    });
    const Vec scale = Simd::Set1(1.0f / __builtin_sqrtf(squares / static_cast<float>(dim) + epsilon));
    ForVectors(dim, [&](int64_t j, int n) {
      Vec y = (Load(residual + j, n) - mean) * scale;
      if (weight != nullptr) y = y * Load(weight + j, n);
      if (bias != nullptr) y = y + Load(bias + j, n);
      if (replace) Store(residual + j, y, n);
      StoreResult(y, j, n, out, bf16_out);
    });
  }

  static void AddRow(float* residual, const float* delta, int64_t dim, float* out, uint16_t* bf16_out) {
    ForVectors(dim, [&](int64_t i, int n) { StoreResult(LoadSum(residual, delta, i, n), i, n, out, bf16_out); });
  }

  static void Rope(float* x, int64_t num_heads, int64_t half, const float* cos, const float* sin) {
    for (int64_t head = 0; head < num_heads; ++head) {
      float* const low = x + head * 2 * half;
      float* const high = low + half;
      ForVectors(half, [&](int64_t i, int n) {
        const Vec a = Load(low + i, n);
        const Vec b = Load(high + i, n);
        const Vec c = Load(cos + i, n);
        const Vec s = Load(sin + i, n);
        Store(low + i, Simd::MulAdd(a, c, Simd::Zero() - b * s), n);
        Store(high + i, Simd::MulAdd(b, c, a * s), n);
      });
    }
  }

  // x / (1 + e^-y), where y is x for SiLU and, because 1 + tanh(z) = 2 / (1 + e^-2z), 2 sqrt(2 / pi) (x + 0.044715 x^3) for GELU.
  static Vec TimesLogistic(Vec x, Vec y) {
    const Vec minus_log2e = Simd::Set1(-1.44269504088896341f);
    const Vec most = Simd::Set1(126.0f);  // 2^126: far below zero gives about 0 and never infinity / infinity
    return x / (Simd::Set1(1.0f) + Simd::Exp2(Simd::Min(y * minus_log2e, most)));
  }

  template <typename Function>
  static inline void ActivateWith(const Function& function, const float* gate, const float* up, int64_t dim, float* out,
                                  uint16_t* bf16_out) {
    ForVectors(dim, [&](int64_t i, int n) {
      Vec y = function(Load(gate + i, n));
      if (up != nullptr) y = y * Load(up + i, n);
      StoreResult(y, i, n, out, bf16_out);
    });
  }

  static void Activate(Activation activation, const float* gate, const float* up, int64_t dim, float* out, uint16_t* bf16_out) {
    switch (activation) {
      case Activation::kSilu:
        return ActivateWith([](Vec x) { return TimesLogistic(x, x); }, gate, up, dim, out, bf16_out);
      case Activation::kGeluTanh: {
        const auto gelu = [](Vec x) {
          const Vec cube = x * x * x;
          return TimesLogistic(x, Simd::MulAdd(cube, Simd::Set1(0.044715f), x) * Simd::Set1(1.59576912160573071f));
        };
        return ActivateWith(gelu, gate, up, dim, out, bf16_out);
      }
      case Activation::kRelu:
        return ActivateWith([](Vec x) { return Simd::Max(x, Simd::Zero()); }, gate, up, dim, out, bf16_out);
    }
  }

  // tanh(z) = 1 - 2 / (e^2z + 1): off by a few units in the last place of 1.
  static void SoftCap(float* x, int64_t count, float cap) {
    const Vec to_exponent = Simd::Set1(2 * 1.44269504088896341f / cap);
    const Vec most = Simd::Set1(126.0f);
    const Vec one = Simd::Set1(1.0f);
    const Vec two_caps = Simd::Set1(2 * cap);
    const Vec whole = Simd::Set1(cap);
    ForVectors(count, [&](int64_t i, int n) {
      const Vec power = Simd::Exp2(Simd::Min(Load(x + i, n) * to_exponent, most));
      Store(x + i, whole - two_caps / (power + one), n);
    });
  }

  static float Dot(const float* a, const float* b, int64_t dim) {
    Vec sums[4] = {Simd::Zero(), Simd::Zero(), Simd::Zero(), Simd::Zero()};
    int64_t i = 0;
    for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
      for (int k = 0; k < 4; ++k) {
        sums[k] = Simd::MulAdd(Simd::Load(a + i + k * kLanes), Simd::Load(b + i + k * kLanes), sums[k]);
      }
    }
    ForVectors(dim - i, [&](int64_t j, int n) { sums[0] = Simd::MulAdd(Load(a + i + j, n), Load(b + i + j, n), sums[0]); });
    return Simd::ReduceSum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }

  static void CastToBF16(const float* in, uint16_t* out, int64_t count) {
    ForVectors(count, [&](int64_t i, int n) { Simd::StoreBF16N(out + i, Load(in + i, n), n); });
  }

  static void MeanF32(const float* in, int64_t stride, int64_t rows, int64_t count, float* out) {
    const Vec divisor = Simd::Set1(static_cast<float>(rows));
    ForVectors(count, [&](int64_t i, int n) {
      Vec sum = Load(in + i, n);
      for (int64_t k = 1; k < rows; ++k) sum = sum + Load(in + k * stride + i, n);
      Store(out + i, sum / divisor, n);
    });
  }

  static void MeanBF16(const uint16_t* in, int64_t stride, int64_t rows, int64_t count, uint16_t* out) {
    const Vec divisor = Simd::Set1(static_cast<float>(rows));
    ForVectors(count, [&](int64_t i, int n) {
      Vec sum = Simd::LoadBF16N(in + i, n);
      for (int64_t k = 1; k < rows; ++k) sum = sum + Simd::LoadBF16N(in + k * stride + i, n);
      Simd::StoreBF16N(out + i, sum / divisor, n);
    });
  }

  static RowKernels Make() { return {RmsNorm, LayerNorm, AddRow, Rope, Activate, SoftCap, Dot, CastToBF16, MeanF32, MeanBF16}; }
};

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ELEMENTWISE_SIMD_ROW_KERNELS_H_
