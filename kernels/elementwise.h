// The row-wise pieces of a transformer layer between its matrix products: norms, RoPE, activations, router scores. They are ours
// because LibTorch's operator overhead (several microseconds a call) dominates a decode step of small rows; see
// tests/bench/elementwise_bench.
// Layer: kernels. Rows are float32; where `bf16_out` is given it receives the same row rounded to bfloat16 (matrix input).
#ifndef RATION_KERNELS_ELEMENTWISE_H_
#define RATION_KERNELS_ELEMENTWISE_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace ration::kernels::cpu {

class ThreadPool;

struct RmsNormParams {
  float* residual = nullptr;      // [rows, dim]; read, and written when `delta` is given
  const float* delta = nullptr;   // [rows, dim] added to residual first (the previous block's output), or nullptr
  const float* weight = nullptr;  // [dim]
  float epsilon = 1e-5f;
  float* out = nullptr;           // [rows, dim] float32, or nullptr if not wanted
  uint16_t* bf16_out = nullptr;   // [rows, dim] bfloat16, or nullptr if not wanted
  int64_t rows = 0;
  int64_t dim = 0;
};
// residual += delta; out = residual / sqrt(mean(residual^2) + epsilon) * weight.
void RmsNorm(const RmsNormParams& params, ThreadPool& pool);

struct LayerNormParams {
  float* residual = nullptr;      // [rows, dim]; read, and written when `delta` or replace_residual is given
  const float* delta = nullptr;   // [rows, dim] added to residual first, or nullptr
  const float* weight = nullptr;  // [dim], or nullptr for ones
  const float* bias = nullptr;    // [dim], or nullptr for zeros
  float epsilon = 1e-5f;
  bool replace_residual = false;  // the residual becomes the normed rows (a norm behind the block: post-norm)
  float* out = nullptr;           // [rows, dim] float32, or nullptr if not wanted
  uint16_t* bf16_out = nullptr;   // [rows, dim] bfloat16, or nullptr if not wanted
  int64_t rows = 0;
  int64_t dim = 0;
};
// residual += delta; out = (residual - mean) / sqrt(variance + epsilon) * weight + bias.
void LayerNorm(const LayerNormParams& params, ThreadPool& pool);

struct AddRowsParams {
  float* residual = nullptr;     // [rows, dim]; read, and written when `delta` is given
  const float* delta = nullptr;  // [rows, dim] added to residual, or nullptr
  float* out = nullptr;          // [rows, dim] float32, or nullptr if not wanted
  uint16_t* bf16_out = nullptr;  // [rows, dim] bfloat16, or nullptr if not wanted
  int64_t rows = 0;
  int64_t dim = 0;
};
// residual += delta; out = residual: where a model has no norm in front of a block.
void AddRows(const AddRowsParams& params, ThreadPool& pool);

struct RopeParams {
  float* x = nullptr;                  // [rows, num_heads, head_dim], rotated in place
  int64_t row_stride = 0;              // floats from row to row
  int64_t rows = 0;
  int32_t num_heads = 0;
  int32_t head_dim = 0;                // even
  const int32_t* positions = nullptr;  // [rows], each < the table's positions
  const float* cos = nullptr;          // [positions, head_dim / 2]
  const float* sin = nullptr;          // [positions, head_dim / 2]
};
// Hugging Face's "rotate half" RoPE: pairs are (i, i + head_dim/2).
void Rope(const RopeParams& params, ThreadPool& pool);

// kGeluTanh is the tanh approximation of GELU: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
enum class Activation { kSilu, kGeluTanh, kRelu };

struct ActivateParams {
  Activation activation = Activation::kSilu;
  bool gated = true;
  const float* in = nullptr;     // gated: [rows, 2 * dim], gate, then up; else [rows, dim]
  float* out = nullptr;          // [rows, dim] float32, or nullptr
  uint16_t* bf16_out = nullptr;  // [rows, dim] bfloat16, or nullptr
  int64_t rows = 0;
  int64_t dim = 0;
};
// out = activation(gate) * up, or activation(in).
void Activate(const ActivateParams& params, ThreadPool& pool);

// x[i] = cap * tanh(x[i] / cap), off by at most 8 units in the last place of the cap. REQUIRES: cap > 0.
void SoftCap(float* x, int64_t count, float cap, ThreadPool& pool);

struct RouterScoresParams {
  const float* x = nullptr;       // [rows, dim], the attention input (after the input norm)
  const float* weight = nullptr;  // [num_experts, dim] (phi transposed)
  const float* bias = nullptr;    // [num_experts]
  float* scores = nullptr;        // [rows, num_experts]
  int64_t rows = 0;
  int64_t dim = 0;
  int32_t num_experts = 0;
};
// scores = sigmoid(x . weight^T + bias); mixSGA's S(x). A row's result does not depend on the other rows of the call.
void RouterScores(const RouterScoresParams& params, ThreadPool& pool);

// out[i] = bfloat16(in[i]), rounded to nearest even.
void CastToBF16(const float* in, uint16_t* out, int64_t count, ThreadPool& pool);

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_ELEMENTWISE_H_
