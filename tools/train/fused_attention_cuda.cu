#include "tools/train/fused_attention_cuda.h"

#include <cstdint>

namespace ration {
namespace {

constexpr int kThreads = 128;  // rows a block: small, so that the short rows at a sequence's start free their place
constexpr int kKeys = 8;       // keys between two rescalings of the running softmax
constexpr float kHidden = -1e30f;

template <int kDim>
__device__ inline void LoadRow(const float* from, float* to) {
#pragma unroll
  for (int i = 0; i < kDim; i += 4) {
    const float4 part = *reinterpret_cast<const float4*>(from + i);
    to[i] = part.x;
    to[i + 1] = part.y;
    to[i + 2] = part.z;
    to[i + 3] = part.w;
  }
}

template <int kDim>
__device__ inline float Dot(const float* a, const float* b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kDim; ++i) sum += a[i] * b[i];
  return sum;
}

// Grid: (blocks of rows of one sequence, query heads, sequences). A thread's row is query `t` of its head.
template <int kDim>
__global__ void ForwardRows(int length, int query_heads, int kv_heads, float scale, const float* q, const float* k,
                            const float* v, float* out, float* logsumexp) {
  const int t = blockIdx.x * kThreads + threadIdx.x;
  if (t >= length) return;
  const int head = blockIdx.y, kv_head = head / (query_heads / kv_heads);
  const int64_t first = static_cast<int64_t>(blockIdx.z) * length, row = (first + t) * query_heads + head;
  const int64_t stride = static_cast<int64_t>(kv_heads) * kDim;
  const float* keys = k + first * stride + kv_head * kDim;
  const float* values = v + first * stride + kv_head * kDim;
  float query[kDim], sum[kDim];
  LoadRow<kDim>(q + row * kDim, query);
#pragma unroll
  for (int i = 0; i < kDim; ++i) {
    query[i] *= scale;
    sum[i] = 0;
  }
  float peak = kHidden, total = 0;
  for (int begin = 0; begin <= t; begin += kKeys) {
    float score[kKeys], highest = peak;
#pragma unroll
    for (int n = 0; n < kKeys; ++n) {
      float key[kDim];
      LoadRow<kDim>(keys + min(begin + n, t) * stride, key);
      score[n] = begin + n <= t ? Dot<kDim>(query, key) : kHidden;
      highest = fmaxf(highest, score[n]);
    }
    const float shrink = expf(peak - highest);
    peak = highest;
    total *= shrink;
#pragma unroll
    for (int i = 0; i < kDim; ++i) sum[i] *= shrink;
#pragma unroll
    for (int n = 0; n < kKeys; ++n) {
      float value[kDim];
      LoadRow<kDim>(values + min(begin + n, t) * stride, value);
      const float p = expf(score[n] - peak);
      total += p;
#pragma unroll
      for (int i = 0; i < kDim; ++i) sum[i] += p * value[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kDim; ++i) out[row * kDim + i] = sum[i] / total;
  logsumexp[row] = peak + logf(total);
}

// The same grid. Writes dq, and delta = out · d_out for KeyRows.
template <int kDim>
__global__ void QueryGradients(int length, int query_heads, int kv_heads, float scale, const float* q, const float* k,
                               const float* v, const float* out, const float* logsumexp, const float* d_out,
                               float* delta, float* dq) {
  const int t = blockIdx.x * kThreads + threadIdx.x;
  if (t >= length) return;
  const int head = blockIdx.y, kv_head = head / (query_heads / kv_heads);
  const int64_t first = static_cast<int64_t>(blockIdx.z) * length, row = (first + t) * query_heads + head;
  const int64_t stride = static_cast<int64_t>(kv_heads) * kDim;
  const float* keys = k + first * stride + kv_head * kDim;
  const float* values = v + first * stride + kv_head * kDim;
  float query[kDim], gradient[kDim], result[kDim], sum[kDim];
  LoadRow<kDim>(q + row * kDim, query);
  LoadRow<kDim>(d_out + row * kDim, gradient);
  LoadRow<kDim>(out + row * kDim, result);
  const float dot = Dot<kDim>(gradient, result), lse = logsumexp[row];
  delta[row] = dot;
#pragma unroll
  for (int i = 0; i < kDim; ++i) {
    query[i] *= scale;
    sum[i] = 0;
  }
#pragma unroll 4
  for (int j = 0; j <= t; ++j) {
    float key[kDim], value[kDim];
    LoadRow<kDim>(keys + j * stride, key);
    LoadRow<kDim>(values + j * stride, value);
    const float p = expf(Dot<kDim>(query, key) - lse);
    const float ds = p * (Dot<kDim>(gradient, value) - dot);
#pragma unroll
    for (int i = 0; i < kDim; ++i) sum[i] += ds * key[i];
  }
#pragma unroll
  for (int i = 0; i < kDim; ++i) dq[row * kDim + i] = sum[i] * scale;
}

// Grid: (blocks of rows, key/value heads, sequences). A thread's row is key `j` of its head; the queries that see it
// are the same for a whole warp but for the diagonal, so that their loads are shared.
template <int kDim>
__global__ void KeyGradients(int length, int query_heads, int kv_heads, float scale, const float* q, const float* k,
                             const float* v, const float* logsumexp, const float* d_out, const float* delta,
                             float* dk, float* dv) {
  const int j = blockIdx.x * kThreads + threadIdx.x;
  if (j >= length) return;
  const int kv_head = blockIdx.y, repeat = query_heads / kv_heads;
  const int64_t first = static_cast<int64_t>(blockIdx.z) * length, row = (first + j) * kv_heads + kv_head;
  float key[kDim], value[kDim], dk_sum[kDim], dv_sum[kDim];
  LoadRow<kDim>(k + row * kDim, key);
  LoadRow<kDim>(v + row * kDim, value);
#pragma unroll
  for (int i = 0; i < kDim; ++i) {
    key[i] *= scale;
    dk_sum[i] = dv_sum[i] = 0;
  }
  const int warp_first = j - static_cast<int>(threadIdx.x % 32);
  for (int r = 0; r < repeat; ++r) {
    const int head = kv_head * repeat + r;
#pragma unroll 4
    for (int t = warp_first; t < length; ++t) {
      const int64_t at = (first + t) * query_heads + head;
      float query[kDim], gradient[kDim];
      LoadRow<kDim>(q + at * kDim, query);
      LoadRow<kDim>(d_out + at * kDim, gradient);
      const float p = t >= j ? expf(Dot<kDim>(query, key) - logsumexp[at]) : 0;
      const float ds = p * (Dot<kDim>(gradient, value) - delta[at]);
#pragma unroll
      for (int i = 0; i < kDim; ++i) {
        dk_sum[i] += ds * query[i];
        dv_sum[i] += p * gradient[i];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kDim; ++i) {
    dk[row * kDim + i] = dk_sum[i] * scale;
    dv[row * kDim + i] = dv_sum[i];
  }
}

template <int kDim>
void Forward(const AttentionShape& s, const float* q, const float* k, const float* v, float* out, float* logsumexp) {
  const int length = static_cast<int>(s.length), query_heads = static_cast<int>(s.query_heads);
  const int kv_heads = static_cast<int>(s.kv_heads);
  const dim3 grid((length + kThreads - 1) / kThreads, query_heads, static_cast<unsigned>(s.batch));
  const float scale = 1.0f / sqrtf(static_cast<float>(kDim));
  ForwardRows<kDim><<<grid, kThreads>>>(length, query_heads, kv_heads, scale, q, k, v, out, logsumexp);
}

template <int kDim>
void Backward(const AttentionShape& s, const float* q, const float* k, const float* v, const float* out,
              const float* logsumexp, const float* d_out, float* delta, float* dq, float* dk, float* dv) {
  const int length = static_cast<int>(s.length), query_heads = static_cast<int>(s.query_heads);
  const int kv_heads = static_cast<int>(s.kv_heads);
  dim3 grid((length + kThreads - 1) / kThreads, query_heads, static_cast<unsigned>(s.batch));
  const float scale = 1.0f / sqrtf(static_cast<float>(kDim));
  QueryGradients<kDim><<<grid, kThreads>>>(length, query_heads, kv_heads, scale, q, k, v, out, logsumexp, d_out, delta,
                                           dq);
  grid.y = kv_heads;
  KeyGradients<kDim><<<grid, kThreads>>>(length, query_heads, kv_heads, scale, q, k, v, logsumexp, d_out, delta, dk,
                                         dv);
}

}  // namespace

void CudaAttentionForward(const AttentionShape& s, const float* q, const float* k, const float* v, float* out,
                          float* logsumexp) {
  if (s.head_dim == 8) return Forward<8>(s, q, k, v, out, logsumexp);
  if (s.head_dim == 16) return Forward<16>(s, q, k, v, out, logsumexp);
  Forward<32>(s, q, k, v, out, logsumexp);
}

void CudaAttentionBackward(const AttentionShape& s, const float* q, const float* k, const float* v, const float* out,
                           const float* logsumexp, const float* d_out, float* delta, float* dq, float* dk, float* dv) {
  if (s.head_dim == 8) return Backward<8>(s, q, k, v, out, logsumexp, d_out, delta, dq, dk, dv);
  if (s.head_dim == 16) return Backward<16>(s, q, k, v, out, logsumexp, d_out, delta, dq, dk, dv);
  Backward<32>(s, q, k, v, out, logsumexp, d_out, delta, dq, dk, dv);
}

}  // namespace ration
