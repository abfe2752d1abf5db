// Tile kernels for AVX-512 with the bfloat16 dot product: a word is a pair of bfloat16 values, so nothing is widened and a
// step does two products a lane. Layer: kernels/cpu/attention. Compiled for AVX-512 BF16; see simd/avx512.h.
#include "kernels/cpu/attention/simd_tile_kernels.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "kernels/cpu/attention/transpose_avx512.h"
#include "kernels/cpu/simd/avx512.h"

namespace ration::kernels::cpu {
namespace {

struct PairFormat {
  using Simd = Avx512Simd;
  using Vec = Simd::Vec;
  // 4 x 4 vectors of sums hide the latency of a dot product.
  static constexpr int kRows = 4;
  static constexpr int kVectors = 4;
  static constexpr int kSlotsPerWord = 2;

  static int KeyWords(int head_dim) { return (head_dim + 1) / 2; }

  static Vec Step(Vec sum, Vec a, Vec b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

  // 2^x for x <= 0, relative error below 8e-5, a twenty-fifth of what rounding to bfloat16 adds: x = floor(x) + f, a minimax
  // polynomial for 2^f (scalef takes the floor itself).
  static Vec Exp2ForBF16(Vec x) {
    const Vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    Vec p = Simd::Set1(0.0780245227f);
    p = Simd::MulAdd(p, f, Simd::Set1(0.226067155f));
    p = Simd::MulAdd(p, f, Simd::Set1(0.69583354f));
    p = Simd::MulAdd(p, f, Simd::Set1(0.999925219f));
    return _mm512_scalef_ps(p, x);
  }

  static __m512i WeighPair(const float* scores, Vec shift) {
    const Vec low = Exp2ForBF16(_mm512_sub_ps(Simd::Load(scores), shift));
    const Vec high = Exp2ForBF16(_mm512_sub_ps(Simd::Load(scores + Simd::kLanes), shift));
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
  }

  // 32 slots at a time; their sum is a dot product with ones. The packed weights are half as long as the scores, so they never
  // overtake the scores still to be read.
  static float Weigh(float* scores, int visible, int padded, float max) {
    const Vec shift = Simd::Set1(max);
    const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
    uint32_t* const weights = reinterpret_cast<uint32_t*>(scores);
    Vec total = Simd::Zero();
    int slot = 0;
    for (; slot + 32 <= visible; slot += 32) {
      const __m512i packed = WeighPair(scores + slot, shift);
      _mm512_storeu_si512(weights + slot / 2, packed);
      total = _mm512_dpbf16_ps(total, (__m512bh)packed, ones);
    }
    if (slot < visible) {
      const __mmask32 mask = (1u << (visible - slot)) - 1;
      const __m512i packed = _mm512_maskz_mov_epi16(mask, WeighPair(scores + slot, shift));
      _mm512_storeu_si512(weights + slot / 2, packed);
      total = _mm512_dpbf16_ps(total, (__m512bh)packed, ones);
      slot += 32;
    }
    for (; slot < padded; slot += 32) _mm512_storeu_si512(weights + slot / 2, _mm512_setzero_si512());
    return Simd::ReduceSum(total);
  }

  static void PackQuery(const float* query, int head_dim, float factor, uint32_t* words) {
    const Vec scale = Simd::Set1(factor);
    uint16_t* out = reinterpret_cast<uint16_t*>(words);
    for (int i = 0; i < head_dim; i += Simd::kLanes) {
      const __mmask16 mask = Simd::Mask(head_dim - i);
      const Vec v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, query + i), scale);
      _mm256_mask_storeu_epi16(out + i, mask, (__m256i)_mm512_cvtneps_pbh(v));
    }
    if (head_dim % 2 != 0) out[head_dim] = 0;
  }

  static void PackKeys(const uint8_t* const* rows, int64_t offset, int count, int head_dim, const PrefetchRows& next,
                       uint32_t* keys) {
    if (head_dim % 2 == 0) {
      PackWords<false>(rows, offset, count, head_dim / 2, next, keys);
      return;
    }
    uint16_t* out = reinterpret_cast<uint16_t*>(keys);
    for (int slot = 0; slot < count; ++slot) {
      const uint16_t* row = reinterpret_cast<const uint16_t*>(rows[slot] + offset);
      for (int i = 0; i < head_dim; ++i) out[(i / 2 * kChunkSlots + slot) * 2 + i % 2] = row[i];
      out[(head_dim / 2 * kChunkSlots + slot) * 2 + 1] = 0;
    }
  }

  static void PackValues(const uint8_t* const* rows, int64_t offset, int count, int head_dim, int padded_dim,
                         const PrefetchRows& next, uint32_t* values) {
    // Pairs (row a, row b) of components 0..15 and 16..31 of two vectors of 32.
    const __m512i low_half = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                              5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high_half = _mm512_add_epi16(low_half, _mm512_set1_epi16(16));
    Prefetcher prefetcher(next, (count + 1) / 2);
    for (int slot = 0; slot < count; slot += 2) {
      const uint16_t* a = reinterpret_cast<const uint16_t*>(rows[slot] + offset);
      const uint16_t* b = reinterpret_cast<const uint16_t*>(rows[slot + 1] + offset);
      uint32_t* out = values + int64_t{slot / 2} * padded_dim;
      prefetcher.Step();
      for (int i = 0; i < padded_dim; i += 32) {
        __m512i from_a;
        __m512i from_b;
        if (i + 32 <= head_dim) {
          from_a = _mm512_loadu_si512(a + i);
          from_b = _mm512_loadu_si512(b + i);
        } else {
          const __mmask32 mask = head_dim > i ? (1u << (head_dim - i)) - 1 : 0;
          from_a = _mm512_maskz_loadu_epi16(mask, a + i);
          from_b = _mm512_maskz_loadu_epi16(mask, b + i);
        }
        _mm512_storeu_si512(out + i, _mm512_permutex2var_epi16(from_a, low_half, from_b));
        if (i + 16 < padded_dim) _mm512_storeu_si512(out + i + 16, _mm512_permutex2var_epi16(from_a, high_half, from_b));
      }
    }
  }
};

}  // namespace

const TileKernels* Avx512BF16TileKernels() {
  static const TileKernels kernels = MakeTileKernels<PairFormat>();
  return &kernels;
}

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const TileKernels* Avx512BF16TileKernels() { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
