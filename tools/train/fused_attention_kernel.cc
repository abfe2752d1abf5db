// Keys and values are transposed to [d, T] once a call, so that one vector holds the same component of neighbouring
// keys and a query's scores come out as vectors, ready for the exponential. T padded to whole vectors; the diagonal's
// vector is masked.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/train/fused_attention_kernel.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include <algorithm>
#include <cmath>
#include <vector>

#include "hwy/highway.h"
#include "tools/train/fused_attention_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace ration {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kPad = 64;  // floats; at least the longest vector

inline int64_t Padded(int64_t length) { return (length + kPad - 1) / kPad * kPad; }

// rows: [length, stride] with head_dim used columns -> out: [head_dim, padded], zero beyond length.
void TransposeIn(const float* rows, int64_t stride, int64_t length, int64_t head_dim, int64_t padded, float* out) {
  std::fill(out, out + head_dim * padded, 0.0f);
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t i = 0; i < head_dim; ++i) out[i * padded + t] = rows[t * stride + i];
  }
}

void TransposeOut(const float* in, int64_t padded, int64_t length, int64_t head_dim, int64_t stride, float* rows) {
  for (int64_t t = 0; t < length; ++t) {
    for (int64_t i = 0; i < head_dim; ++i) rows[t * stride + i] = in[i * padded + t];
  }
}

// What a query sees of its row: scores masked beyond `position` come out as a very negative number.
template <class D, class V>
HWY_INLINE V MaskFuture(D d, V scores, int64_t first, int64_t position) {
  if (first + static_cast<int64_t>(hn::Lanes(d)) <= position + 1) return scores;
  const auto mask = hn::FirstN(d, static_cast<size_t>(position + 1 - first));
  return hn::IfThenElse(mask, scores, hn::Set(d, -1e30f));
}

// exp for x <= 0 (anything above 0 is not asked for), relative error below 3e-7; 0 under -87. Cheaper than Highway's,
// which serves every x.
template <class D, class V>
HWY_INLINE V ExpNonPositive(D d, V x) {
  const V clamped = hn::Max(x, hn::Set(d, -87.0f));
  const V n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504f)));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);  // ln 2 in two parts
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V y = hn::Set(d, 1.3981999507e-3f);  // Cephes' expf polynomial
  y = hn::MulAdd(y, r, hn::Set(d, 8.3334519073e-3f));
  y = hn::MulAdd(y, r, hn::Set(d, 4.1665795894e-2f));
  y = hn::MulAdd(y, r, hn::Set(d, 1.6666665459e-1f));
  y = hn::MulAdd(y, r, hn::Set(d, 5.0000001201e-1f));
  y = hn::MulAdd(hn::MulAdd(y, r, hn::Set(d, 1.0f)), r, hn::Set(d, 1.0f));
  const hn::RebindToSigned<D> di;
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
  return hn::IfThenElseZero(hn::Gt(x, hn::Set(d, -87.0f)), hn::Mul(y, power));
}

// Query rows that share a key/value head are done kRows at a time, so that a loaded key serves all of them. Loops over
// kDim and kRows must be unrolled: their arrays are registers.
template <int kDim, int kRows>
void ForwardHead(const AttentionShape& s, int64_t sequence, int64_t kv_head, const float* q, const float* k,
                 const float* v, float* out, float* logsumexp) {
  const hn::ScalableTag<float> d;
  using V = decltype(hn::Zero(d));
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t padded = Padded(s.length), kv_stride = s.kv_heads * kDim, repeat = s.query_heads / s.kv_heads;
  static thread_local std::vector<float> scratch;
  scratch.resize((2 * kDim + kRows) * padded);
  float* kt = scratch.data();
  float* vt = kt + kDim * padded;
  float* scores = vt + kDim * padded;
  const int64_t kv_offset = sequence * s.length * kv_stride + kv_head * kDim;
  TransposeIn(k + kv_offset, kv_stride, s.length, kDim, padded, kt);
  TransposeIn(v + kv_offset, kv_stride, s.length, kDim, padded, vt);
  const float scale = 1.0f / std::sqrt(static_cast<float>(kDim));

  for (int64_t t = 0; t < s.length; ++t) {
    for (int64_t first = 0; first < repeat; first += kRows) {
      const int64_t row = (sequence * s.length + t) * s.query_heads + kv_head * repeat + first;
      HWY_ALIGN float query[kRows * kDim];
      for (int i = 0; i < kRows * kDim; ++i) query[i] = q[row * kDim + i] * scale;
      V max[kRows];
#pragma GCC unroll 64
      for (int r = 0; r < kRows; ++r) max[r] = hn::Set(d, -1e30f);
      for (int64_t j = 0; j <= t; j += lanes) {
        V sum[kRows];
#pragma GCC unroll 64
        for (int r = 0; r < kRows; ++r) sum[r] = hn::Zero(d);
#pragma GCC unroll 64
        for (int i = 0; i < kDim; ++i) {
          const V key = hn::LoadU(d, kt + i * padded + j);
#pragma GCC unroll 64
          for (int r = 0; r < kRows; ++r) sum[r] = hn::MulAdd(hn::Set(d, query[r * kDim + i]), key, sum[r]);
        }
#pragma GCC unroll 64
        for (int r = 0; r < kRows; ++r) {
          sum[r] = MaskFuture(d, sum[r], j, t);
          max[r] = hn::Max(max[r], sum[r]);
          hn::StoreU(sum[r], d, scores + r * padded + j);
        }
      }
      float peak[kRows];
      V total[kRows], acc[kRows * kDim];
#pragma GCC unroll 64
      for (int r = 0; r < kRows; ++r) {
        peak[r] = hn::GetLane(hn::MaxOfLanes(d, max[r]));
        total[r] = hn::Zero(d);
      }
#pragma GCC unroll 64
      for (int i = 0; i < kRows * kDim; ++i) acc[i] = hn::Zero(d);
      for (int64_t j = 0; j <= t; j += lanes) {
        V p[kRows];
#pragma GCC unroll 64
        for (int r = 0; r < kRows; ++r) {
          p[r] = ExpNonPositive(d, hn::Sub(hn::LoadU(d, scores + r * padded + j), hn::Set(d, peak[r])));
          total[r] = hn::Add(total[r], p[r]);
        }
#pragma GCC unroll 64
        for (int i = 0; i < kDim; ++i) {
          const V value = hn::LoadU(d, vt + i * padded + j);
#pragma GCC unroll 64
          for (int r = 0; r < kRows; ++r) acc[r * kDim + i] = hn::MulAdd(p[r], value, acc[r * kDim + i]);
        }
      }
#pragma GCC unroll 64
      for (int r = 0; r < kRows; ++r) {
        const float denominator = hn::GetLane(hn::SumOfLanes(d, total[r]));
#pragma GCC unroll 64
        for (int i = 0; i < kDim; ++i) {
          out[(row + r) * kDim + i] = hn::GetLane(hn::SumOfLanes(d, acc[r * kDim + i])) / denominator;
        }
        logsumexp[row + r] = peak[r] + std::log(denominator);
      }
    }
  }
}

template <int kDim, int kRows>
void BackwardHead(const AttentionShape& s, int64_t sequence, int64_t kv_head, const float* q, const float* k,
                  const float* v, const float* out, const float* logsumexp, const float* d_out, float* dq, float* dk,
                  float* dv) {
  const hn::ScalableTag<float> d;
  using V = decltype(hn::Zero(d));
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t padded = Padded(s.length), kv_stride = s.kv_heads * kDim, repeat = s.query_heads / s.kv_heads;
  static thread_local std::vector<float> scratch;
  scratch.assign(4 * kDim * padded, 0.0f);
  float* kt = scratch.data();
  float* vt = kt + kDim * padded;
  float* dkt = vt + kDim * padded;
  float* dvt = dkt + kDim * padded;
  const int64_t kv_offset = sequence * s.length * kv_stride + kv_head * kDim;
  TransposeIn(k + kv_offset, kv_stride, s.length, kDim, padded, kt);
  TransposeIn(v + kv_offset, kv_stride, s.length, kDim, padded, vt);
  const float scale = 1.0f / std::sqrt(static_cast<float>(kDim));

  for (int64_t t = 0; t < s.length; ++t) {
    for (int64_t first = 0; first < repeat; first += kRows) {
      const int64_t row = (sequence * s.length + t) * s.query_heads + kv_head * repeat + first;
      HWY_ALIGN float query[kRows * kDim];  // scaled: it makes scores, and dk of ds
      HWY_ALIGN float gradient[kRows * kDim];
      float dot[kRows];
      for (int r = 0; r < kRows; ++r) {
        dot[r] = 0;
        for (int i = 0; i < kDim; ++i) {
          query[r * kDim + i] = q[(row + r) * kDim + i] * scale;
          gradient[r * kDim + i] = d_out[(row + r) * kDim + i];
          dot[r] += gradient[r * kDim + i] * out[(row + r) * kDim + i];
        }
      }
      V acc[kRows * kDim];
#pragma GCC unroll 64
      for (int i = 0; i < kRows * kDim; ++i) acc[i] = hn::Zero(d);
      for (int64_t j = 0; j <= t; j += lanes) {
        V p[kRows], ds[kRows];
#pragma GCC unroll 64
        for (int r = 0; r < kRows; ++r) p[r] = ds[r] = hn::Zero(d);
#pragma GCC unroll 64
        for (int i = 0; i < kDim; ++i) {
          const V key = hn::LoadU(d, kt + i * padded + j), value = hn::LoadU(d, vt + i * padded + j);
#pragma GCC unroll 64
          for (int r = 0; r < kRows; ++r) {
            p[r] = hn::MulAdd(hn::Set(d, query[r * kDim + i]), key, p[r]);
            ds[r] = hn::MulAdd(hn::Set(d, gradient[r * kDim + i]), value, ds[r]);
          }
        }
#pragma GCC unroll 64
        for (int r = 0; r < kRows; ++r) {
          p[r] = ExpNonPositive(d, hn::Sub(MaskFuture(d, p[r], j, t), hn::Set(d, logsumexp[row + r])));
          ds[r] = hn::Mul(p[r], hn::Sub(ds[r], hn::Set(d, dot[r])));
        }
#pragma GCC unroll 64
        for (int i = 0; i < kDim; ++i) {
          const V key = hn::LoadU(d, kt + i * padded + j);
          float* dk_at = dkt + i * padded + j;
          float* dv_at = dvt + i * padded + j;
          V dk_sum = hn::LoadU(d, dk_at), dv_sum = hn::LoadU(d, dv_at);
#pragma GCC unroll 64
          for (int r = 0; r < kRows; ++r) {
            acc[r * kDim + i] = hn::MulAdd(ds[r], key, acc[r * kDim + i]);
            dk_sum = hn::MulAdd(ds[r], hn::Set(d, query[r * kDim + i]), dk_sum);
            dv_sum = hn::MulAdd(p[r], hn::Set(d, gradient[r * kDim + i]), dv_sum);
          }
          hn::StoreU(dk_sum, d, dk_at);
          hn::StoreU(dv_sum, d, dv_at);
        }
      }
#pragma GCC unroll 64
      for (int i = 0; i < kRows * kDim; ++i) dq[row * kDim + i] = hn::GetLane(hn::SumOfLanes(d, acc[i])) * scale;
    }
  }
  TransposeOut(dkt, padded, s.length, kDim, kv_stride, dk + kv_offset);
  TransposeOut(dvt, padded, s.length, kDim, kv_stride, dv + kv_offset);
}

// Two rows at a time where they come in pairs and their accumulators fit the registers.
void Forward(const AttentionShape& s, int64_t sequence, int64_t kv_head, const float* q, const float* k, const float* v,
             float* out, float* logsumexp) {
  const bool pairs = s.query_heads / s.kv_heads % 2 == 0;
  switch (s.head_dim) {
    case 8:
      if (pairs) return ForwardHead<8, 2>(s, sequence, kv_head, q, k, v, out, logsumexp);
      return ForwardHead<8, 1>(s, sequence, kv_head, q, k, v, out, logsumexp);
    case 16:
      return ForwardHead<16, 1>(s, sequence, kv_head, q, k, v, out, logsumexp);
    case 32:
      return ForwardHead<32, 1>(s, sequence, kv_head, q, k, v, out, logsumexp);
  }
}

void Backward(const AttentionShape& s, int64_t sequence, int64_t kv_head, const float* q, const float* k,
              const float* v, const float* out, const float* lse, const float* d_out, float* dq, float* dk, float* dv) {
  const bool pairs = s.query_heads / s.kv_heads % 2 == 0;
  switch (s.head_dim) {
    case 8:
      if (pairs) return BackwardHead<8, 2>(s, sequence, kv_head, q, k, v, out, lse, d_out, dq, dk, dv);
      return BackwardHead<8, 1>(s, sequence, kv_head, q, k, v, out, lse, d_out, dq, dk, dv);
    case 16:
      return BackwardHead<16, 1>(s, sequence, kv_head, q, k, v, out, lse, d_out, dq, dk, dv);
    case 32:
      return BackwardHead<32, 1>(s, sequence, kv_head, q, k, v, out, lse, d_out, dq, dk, dv);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ration
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ration {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);

bool AttentionHeadSizeSupported(int64_t head_dim) { return head_dim == 8 || head_dim == 16 || head_dim == 32; }

void AttentionForward(const AttentionShape& shape, int64_t sequence, int64_t kv_head, const float* q, const float* k,
                      const float* v, float* out, float* logsumexp) {
  HWY_DYNAMIC_DISPATCH(Forward)(shape, sequence, kv_head, q, k, v, out, logsumexp);
}

void AttentionBackward(const AttentionShape& shape, int64_t sequence, int64_t kv_head, const float* q, const float* k,
                       const float* v, const float* out, const float* logsumexp, const float* d_out, float* dq,
                       float* dk, float* dv) {
  HWY_DYNAMIC_DISPATCH(Backward)(shape, sequence, kv_head, q, k, v, out, logsumexp, d_out, dq, dk, dv);
}

}  // namespace ration
#endif  // HWY_ONCE
