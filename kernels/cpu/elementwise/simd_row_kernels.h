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

  static void RmsNorm(float* residual, const float* delta, const float* weight, float epsilon, int64_t dim, float* out,
                      uint16_t* bf16_out) {
    // Four sums hide the latency of a multiply-add.
    Vec sums[4] = {Simd::Zero(), Simd::Zero(), Simd::Zero(), Simd::Zero()};
    const auto add = [&](int64_t i, int n, Vec& sum) {
      Vec x = Load(residual + i, n);
      if (delta != nullptr) {
        x = x + Load(delta + i, n);
        Store(residual + i, x, n);
      }
      sum = Simd::MulAdd(x, x, sum);
    };
    int64_t i = 0;
    for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
      for (int k = 0; k < 4; ++k) add(i + k * kLanes, kLanes, sums[k]);
    }
    for (; i + kLanes <= dim; i += kLanes) add(i, kLanes, sums[0]);
    if (i < dim) add(i, static_cast<int>(dim - i), sums[1]);
    const float sum = Simd::ReduceSum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    const Vec scale = Simd::Set1(1.0f / __builtin_sqrtf(sum / static_cast<float>(dim) + epsilon));
    ForVectors(dim, [&](int64_t j, int n) {
      StoreResult(Load(residual + j, n) * scale * Load(weight + j, n), j, n, out, bf16_out);
    });
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

  static void SiluMul(const float* gate, const float* up, int64_t dim, float* out, uint16_t* bf16_out) {
    const Vec minus_log2e = Simd::Set1(-1.44269504088896341f);
    const Vec one = Simd::Set1(1.0f);
    const Vec most = Simd::Set1(126.0f);  // 2^126: a gate far below zero gives about 0 and never infinity / infinity
    ForVectors(dim, [&](int64_t i, int n) {
      const Vec g = Load(gate + i, n);
      const Vec exponent = g * minus_log2e;
      const Vec e = Simd::Exp2(Simd::Min(exponent, most));
      StoreResult(g / (one + e) * Load(up + i, n), i, n, out, bf16_out);
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

  static RowKernels Make() { return {RmsNorm, Rope, SiluMul, Dot, CastToBF16, MeanF32, MeanBF16}; }
};

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ELEMENTWISE_SIMD_ROW_KERNELS_H_
