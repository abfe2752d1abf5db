// The row-wise pieces between a layer's matrix products. Layer: kernels/cpu.
#include "kernels/elementwise.h"

#include <cmath>

#include "kernels/cpu/thread_pool.h"

namespace ration::kernels::cpu {
namespace {

// Elements a piece: several microseconds of work.
constexpr int64_t kPieceElements = 16384;

int64_t RowGrain(int64_t elements_per_row) { return 1 + kPieceElements / (elements_per_row + 1); }

}  // namespace

void RmsNorm(const RmsNormParams& params, ThreadPool& pool) {
  const int64_t dim = params.dim;
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    float* residual = params.residual + row * dim;
    if (params.delta != nullptr) {
      const float* delta = params.delta + row * dim;
      for (int64_t i = 0; i < dim; ++i) residual[i] += delta[i];
    }
    float sum = 0;
    for (int64_t i = 0; i < dim; ++i) sum += residual[i] * residual[i];
    const float scale = 1.0f / std::sqrt(sum / static_cast<float>(dim) + params.epsilon);
    for (int64_t i = 0; i < dim; ++i) {
      const float value = residual[i] * scale * params.weight[i];
      if (params.out != nullptr) params.out[row * dim + i] = value;
      if (params.bf16_out != nullptr) params.bf16_out[row * dim + i] = ToBF16(value);
    }
  }, RowGrain(dim));
}

void Rope(const RopeParams& params, ThreadPool& pool) {
  const int64_t half = params.head_dim / 2;
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    const float* cos = params.cos + params.positions[row] * half;
    const float* sin = params.sin + params.positions[row] * half;
    for (int64_t head = 0; head < params.num_heads; ++head) {
      float* low = params.x + row * params.row_stride + head * params.head_dim;
      float* high = low + half;
      for (int64_t i = 0; i < half; ++i) {
        const float a = low[i];
        const float b = high[i];
        low[i] = a * cos[i] - b * sin[i];
        high[i] = b * cos[i] + a * sin[i];
      }
    }
  }, RowGrain(int64_t{params.num_heads} * params.head_dim));
}

void SiluMul(const SiluMulParams& params, ThreadPool& pool) {
  const int64_t dim = params.dim;
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    const float* gate = params.gate_up + row * 2 * dim;
    const float* up = gate + dim;
    for (int64_t i = 0; i < dim; ++i) {
      const float value = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
      if (params.out != nullptr) params.out[row * dim + i] = value;
      if (params.bf16_out != nullptr) params.bf16_out[row * dim + i] = ToBF16(value);
    }
  }, RowGrain(4 * dim));
}

void RouterScores(const RouterScoresParams& params, ThreadPool& pool) {
  pool.ParallelFor(params.rows, [&](int64_t row, int) {
    for (int64_t e = 0; e < params.num_experts; ++e) {
      float sum = 0;
      for (int64_t i = 0; i < params.dim; ++i) sum += params.x[row * params.dim + i] * params.weight[e * params.dim + i];
      params.scores[row * params.num_experts + e] = 1.0f / (1.0f + std::exp(-(sum + params.bias[e])));
    }
  }, RowGrain(params.dim * params.num_experts));
}

void CastToBF16(const float* in, uint16_t* out, int64_t count, ThreadPool& pool) {
  pool.ParallelFor((count + kPieceElements - 1) / kPieceElements, [&](int64_t piece, int) {
    const int64_t end = (piece + 1) * kPieceElements < count ? (piece + 1) * kPieceElements : count;
    for (int64_t i = piece * kPieceElements; i < end; ++i) out[i] = ToBF16(in[i]);
  });
}

}  // namespace ration::kernels::cpu
