// The row-wise pieces between a layer's matrix products: spreads rows over threads. Small calls run inline, as in a decode step
// of a few rows; waking a thread would cost more.
// Layer: kernels/cpu.
#include "kernels/elementwise.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/elementwise/row_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace ration::kernels::cpu {
namespace {

// Elements a piece: 64 KiB of float32, some microseconds of work.
constexpr int64_t kPieceElements = 16384;

// Rows a piece; `weight` is how much dearer an element is than one of a norm.
int64_t RowGrain(int64_t elements_per_row, int64_t weight = 1) {
  return 1 + kPieceElements / (elements_per_row * weight + 1);
}

}  // namespace

void RmsNorm(const RmsNormParams& params, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  const int64_t dim = params.dim;
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    kernels.rms_norm(params.residual + row * dim, params.delta != nullptr ? params.delta + row * dim : nullptr, params.weight,
                     params.epsilon, dim, params.out != nullptr ? params.out + row * dim : nullptr,
                     params.bf16_out != nullptr ? params.bf16_out + row * dim : nullptr);
  }, RowGrain(dim));
}

void LayerNorm(const LayerNormParams& params, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  const int64_t dim = params.dim;
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    kernels.layer_norm(params.residual + row * dim, params.delta != nullptr ? params.delta + row * dim : nullptr, params.weight,
                       params.bias, params.epsilon, params.replace_residual, dim,
                       params.out != nullptr ? params.out + row * dim : nullptr,
                       params.bf16_out != nullptr ? params.bf16_out + row * dim : nullptr);
  }, RowGrain(dim));
}

void AddRows(const AddRowsParams& params, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  const int64_t dim = params.dim;
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    kernels.add_row(params.residual + row * dim, params.delta != nullptr ? params.delta + row * dim : nullptr, dim,
                    params.out != nullptr ? params.out + row * dim : nullptr,
                    params.bf16_out != nullptr ? params.bf16_out + row * dim : nullptr);
  }, RowGrain(dim));
}

void Rope(const RopeParams& params, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  const int64_t half = params.head_dim / 2;
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    const int64_t at = params.positions[row] * half;
    kernels.rope(params.x + row * params.row_stride, params.num_heads, half, params.cos + at, params.sin + at);
  }, RowGrain(int64_t{params.num_heads} * params.head_dim));
}

void Activate(const ActivateParams& params, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  const int64_t dim = params.dim;
  // A wide row is cut, so that a decode step of one row uses every thread too.
  const int64_t pieces = (dim + kPieceElements - 1) / kPieceElements;
  pool.ParallelFor(params.rows * pieces, [&](int64_t item, int) {
    const int64_t row = item / pieces;
    const int64_t begin = item % pieces * kPieceElements;
    const float* gate = params.in + row * (params.gated ? 2 * dim : dim) + begin;
    const int64_t out = row * dim + begin;
    kernels.activate(params.activation, gate, params.gated ? gate + dim : nullptr, std::min(kPieceElements, dim - begin),
                     params.out != nullptr ? params.out + out : nullptr,
                     params.bf16_out != nullptr ? params.bf16_out + out : nullptr);
  }, RowGrain(std::min(dim, kPieceElements), 2));
}

void SoftCap(float* x, int64_t count, float cap, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  const int64_t pieces = (count + kPieceElements - 1) / kPieceElements;
  pool.ParallelFor(pieces, [&](int64_t piece, int) {
    const int64_t begin = piece * kPieceElements;
    kernels.soft_cap(x + begin, std::min(kPieceElements, count - begin), cap);
  });
}

void RouterScores(const RouterScoresParams& params, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    for (int64_t e = 0; e < params.num_experts; ++e) {
      const float sum = kernels.dot(params.x + row * params.dim, params.weight + e * params.dim, params.dim);
      params.scores[row * params.num_experts + e] = 1.0f / (1.0f + std::exp(-(sum + params.bias[e])));
    }
  }, RowGrain(params.dim * params.num_experts));
}

void CastToBF16(const float* in, uint16_t* out, int64_t count, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  const int64_t pieces = (count + kPieceElements - 1) / kPieceElements;
  pool.ParallelFor(pieces, [&](int64_t piece, int) {
    const int64_t begin = piece * kPieceElements;
    kernels.cast_to_bf16(in + begin, out + begin, std::min(kPieceElements, count - begin));
  }, 2);
}

}  // namespace ration::kernels::cpu
