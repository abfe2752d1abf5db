// The vectorised rows of the element-wise kernels, one table for each instruction set. ../elementwise.cc spreads rows over threads.
// Layer: kernels/cpu/elementwise (private). Pure functions on caller-owned memory; a row's result depends on that row alone.
#ifndef RATION_KERNELS_CPU_ELEMENTWISE_ROW_KERNELS_H_
#define RATION_KERNELS_CPU_ELEMENTWISE_ROW_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/cpu_level.h"
#include "kernels/elementwise.h"

namespace ration::kernels::cpu {

struct RowKernels {
  // residual += delta (unless nullptr); out and bf16_out (each unless nullptr) = residual / rms * weight.
  void (*rms_norm)(float* residual, const float* delta, const float* weight, float epsilon, int64_t dim, float* out,
                   uint16_t* bf16_out);
  // residual += delta (unless nullptr); out and bf16_out (each unless nullptr) = (residual - mean) / deviation * weight + bias, where
  // weight and bias may be nullptr; with `replace` residual becomes that too.
  void (*layer_norm)(float* residual, const float* delta, const float* weight, const float* bias, float epsilon, bool replace,
                     int64_t dim, float* out, uint16_t* bf16_out);
  // residual += delta (unless nullptr); out and bf16_out (each unless nullptr) = residual.
  void (*add_row)(float* residual, const float* delta, int64_t dim, float* out, uint16_t* bf16_out);
  // Rotates the pairs (low[i], high[i]) of num_heads heads, head_dim floats apart; half = head_dim / 2 = high - low.
  void (*rope)(float* x, int64_t num_heads, int64_t half, const float* cos, const float* sin);
  // out and bf16_out (each unless nullptr) = activation(gate) * up; up nullptr: activation(gate).
  void (*activate)(Activation activation, const float* gate, const float* up, int64_t dim, float* out, uint16_t* bf16_out);
  // x[i] = cap * tanh(x[i] / cap).
  void (*soft_cap)(float* x, int64_t count, float cap);
  // The sum of a[i] * b[i], in one fixed order.
  float (*dot)(const float* a, const float* b, int64_t dim);
  void (*cast_to_bf16)(const float* in, uint16_t* out, int64_t count);
  // out[i] = the mean over k < rows of in[k * stride + i], summed in float32 in ascending k and rounded once.
  void (*mean_f32)(const float* in, int64_t stride, int64_t rows, int64_t count, float* out);
  void (*mean_bf16)(const uint16_t* in, int64_t stride, int64_t rows, int64_t count, uint16_t* out);
};

// Tables of the levels; nullptr where the compiler has no such instruction set.
const RowKernels* PortableRowKernels();
const RowKernels* Avx2RowKernels();
const RowKernels* Avx512RowKernels();

// The best table for the active level.
const RowKernels& ActiveRowKernels();

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ELEMENTWISE_ROW_KERNELS_H_
