// The matrix product as its definition says: double precision, plain loops over the packed weights.
// Layer: kernels/reference. The truth the fast kernels are compared with.
#include <cstdint>
#include <cstring>

#include "kernels/gemm.h"

namespace ration::kernels::reference {
namespace {

double WeightAt(const PackedWeights& weights, int64_t column, int64_t k) {
  const uint8_t* panel = weights.data + column / kPanelColumns * weights.panel_bytes();
  const int64_t c = column % kPanelColumns;
  if (weights.dtype == DType::kF32) return reinterpret_cast<const float*>(panel)[k * kPanelColumns + c];
  return FromBF16(reinterpret_cast<const uint16_t*>(panel)[(k / 2 * kPanelColumns + c) * 2 + k % 2]);
}

double InputAt(const GemmParams& params, int64_t row, int64_t k) {
  const int64_t index = row * params.weights.in + k;
  if (params.weights.dtype == DType::kF32) return static_cast<const float*>(params.x)[index];
  return FromBF16(static_cast<const uint16_t*>(params.x)[index]);
}

}  // namespace

void Gemm(const GemmParams& params) {
  const PackedWeights& weights = params.weights;
  for (int64_t row = 0; row < params.rows; ++row) {
    for (int64_t column = 0; column < weights.out; ++column) {
      double sum = params.bias == nullptr ? 0 : params.bias[column];
      for (int64_t k = 0; k < weights.in; ++k) sum += InputAt(params, row, k) * WeightAt(weights, column, k);
      params.y[row * weights.out + column] = static_cast<float>(sum);
    }
  }
}

}  // namespace ration::kernels::reference
