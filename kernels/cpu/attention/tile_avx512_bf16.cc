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
  static constexpr int kMaxDirectRows = 8;

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

  static void PackKeys(const uint8_t* const* rows, int64_t offset, int count, int head_dim, PrefetchRows& next,
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

  // Scores of 4 * kSets rows without packing. A 128-bit lane of a vector holds a row's 8 components, and the same 8 components
  // of a key go to all lanes by a broadcast from memory, which needs no shuffle; each lane's 4 partial sums are added at the end.
  // 64 components at a time: their queries fill half of the registers.
  template <int kSets>
  static void ScoreBlock(const uint32_t* query, int64_t query_stride, const uint8_t* const* rows, int64_t offset, int count,
                         float* scores, int64_t scores_stride, bool accumulate, Prefetcher& prefetcher) {
    __m512i q[kSets][8];
#pragma GCC unroll 2
    for (int set = 0; set < kSets; ++set) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const uint32_t* from = query + 4 * set * query_stride + 4 * j;
        q[set][j] = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#pragma GCC unroll 4
        for (int r = 1; r < 4; ++r) {
          const __m128i lane = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + r * query_stride));
          q[set][j] = _mm512_mask_broadcast_i32x4(q[set][j], static_cast<__mmask16>(0xf << (4 * r)), lane);
        }
      }
    }
    for (int slot = 0; slot < count; slot += 16) {
      Vec quads[kSets][4];  // [i]: lane r has row r's scores of 4 slots
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        prefetcher.Step();
        const uint8_t* keys[4];
        Vec acc[kSets][4];
#pragma GCC unroll 4
        for (int s = 0; s < 4; ++s) {
          keys[s] = rows[slot + 4 * i + s] + offset;
#pragma GCC unroll 2
          for (int set = 0; set < kSets; ++set) acc[set][s] = Simd::Zero();
        }
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
#pragma GCC unroll 4
          for (int s = 0; s < 4; ++s) {
            const __m512i key =
                _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(keys[s] + 16 * j)));
#pragma GCC unroll 2
            for (int set = 0; set < kSets; ++set) acc[set][s] = Step(acc[set][s], (Vec)q[set][j], (Vec)key);
          }
        }
#pragma GCC unroll 2
        for (int set = 0; set < kSets; ++set) quads[set][i] = AddInLanes(acc[set]);
      }
#pragma GCC unroll 2
      for (int set = 0; set < kSets; ++set) {
        const Vec low01 = _mm512_shuffle_f32x4(quads[set][0], quads[set][1], 0x44);
        const Vec high01 = _mm512_shuffle_f32x4(quads[set][0], quads[set][1], 0xee);
        const Vec low23 = _mm512_shuffle_f32x4(quads[set][2], quads[set][3], 0x44);
        const Vec high23 = _mm512_shuffle_f32x4(quads[set][2], quads[set][3], 0xee);
        const Vec by_row[4] = {_mm512_shuffle_f32x4(low01, low23, 0x88), _mm512_shuffle_f32x4(low01, low23, 0xdd),
                               _mm512_shuffle_f32x4(high01, high23, 0x88), _mm512_shuffle_f32x4(high01, high23, 0xdd)};
#pragma GCC unroll 4
        for (int r = 0; r < 4; ++r) {
          float* out = scores + (4 * set + r) * scores_stride + slot;
          Simd::Store(out, accumulate ? Simd::Load(out) + by_row[r] : by_row[r]);
        }
      }
    }
  }

  // Element s of each 128-bit lane: the sum of that lane of sums[s].
  static Vec AddInLanes(const Vec (&sums)[4]) {
    const Vec a = _mm512_add_ps(_mm512_unpacklo_ps(sums[0], sums[1]), _mm512_unpackhi_ps(sums[0], sums[1]));
    const Vec b = _mm512_add_ps(_mm512_unpacklo_ps(sums[2], sums[3]), _mm512_unpackhi_ps(sums[2], sums[3]));
    const __m512d low = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
    const __m512d high = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b));
    return _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
  }

  static bool ScoresDirectly(int rows_per_query, int head_dim) {
    return rows_per_query <= kMaxDirectRows && rows_per_query % 4 == 0 && head_dim % 64 == 0;
  }

  static void Score(const uint32_t* query, int64_t query_stride, const uint8_t* const* rows, int64_t offset, int count,
                    int head_dim, float* scores, int64_t scores_stride, int num_rows, PrefetchRows& next) {
    Prefetcher prefetcher(next, int64_t{(num_rows + 7) / 8} * (head_dim / 64) * ((count + 15) / 16) * 4);
    int row = 0;
    for (; row + 8 <= num_rows; row += 8) {
      for (int i = 0; i < head_dim; i += 64) {
        ScoreBlock<2>(query + row * query_stride + i / 2, query_stride, rows, offset + 2 * i, count, scores + row * scores_stride,
                      scores_stride, i > 0, prefetcher);
      }
    }
    if (row == num_rows) return;
    for (int i = 0; i < head_dim; i += 64) {
      ScoreBlock<1>(query + row * query_stride + i / 2, query_stride, rows, offset + 2 * i, count, scores + row * scores_stride,
                    scores_stride, i > 0, prefetcher);
    }
  }

  // The pairs are made on the way: unpacking two rows costs nothing beside four dot products, as it uses other ports. It leaves
  // the 32 components of a group in another order, which Finish undoes.
  template <int kRows, int kGroups, bool kMasked>
  static inline void AddGroups(const uint32_t* weights, int64_t weights_stride, const uint8_t* const* rows, int64_t offset,
                               int steps, __mmask32 mask, float* out, int64_t out_stride, bool accumulate,
                               Prefetcher& prefetcher) {
    Vec acc[kRows][2 * kGroups];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < 2 * kGroups; ++v) acc[r][v] = accumulate ? Simd::Load(out + r * out_stride + v * 16) : Simd::Zero();
    }
    for (int64_t step = 0; step < steps; ++step) {
      prefetcher.Step();
      const uint8_t* a = rows[2 * step] + offset;
      const uint8_t* b = rows[2 * step + 1] + offset;
      __m512i pairs[2 * kGroups];
#pragma GCC unroll 2
      for (int g = 0; g < kGroups; ++g) {
        const __m512i from_a = kMasked ? _mm512_maskz_loadu_epi16(mask, a + g * 64) : _mm512_loadu_si512(a + g * 64);
        const __m512i from_b = kMasked ? _mm512_maskz_loadu_epi16(mask, b + g * 64) : _mm512_loadu_si512(b + g * 64);
        pairs[2 * g] = _mm512_unpacklo_epi16(from_a, from_b);
        pairs[2 * g + 1] = _mm512_unpackhi_epi16(from_a, from_b);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m512i weight = _mm512_set1_epi32(static_cast<int>(weights[r * weights_stride + step]));
#pragma GCC unroll 4
        for (int v = 0; v < 2 * kGroups; ++v) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], (__m512bh)weight, (__m512bh)pairs[v]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < 2 * kGroups; ++v) Simd::Store(out + r * out_stride + v * 16, acc[r][v]);
    }
  }

  template <int kGroups, bool kMasked>
  static void AddColumns(const uint32_t* weights, int64_t weights_stride, const uint8_t* const* rows, int64_t offset, int steps,
                         __mmask32 mask, float* out, int64_t out_stride, int num_rows, bool accumulate, Prefetcher& prefetcher) {
    int row = 0;
    for (; row + 4 <= num_rows; row += 4) {
      AddGroups<4, kGroups, kMasked>(weights + row * weights_stride, weights_stride, rows, offset, steps, mask,
                                     out + row * out_stride, out_stride, accumulate, prefetcher);
    }
    for (; row < num_rows; ++row) {
      AddGroups<1, kGroups, kMasked>(weights + row * weights_stride, weights_stride, rows, offset, steps, mask,
                                     out + row * out_stride, out_stride, accumulate, prefetcher);
    }
  }

  static void AddValues(const uint32_t* weights, int64_t weights_stride, const uint8_t* const* rows, int64_t offset, int count,
                        int head_dim, int padded_dim, float* out, int num_rows, bool accumulate, PrefetchRows& next,
                        uint32_t*) {
    const int steps = (count + 1) / 2;
    Prefetcher prefetcher(next, int64_t{(num_rows + 3) / 4} * ((head_dim + 63) / 64) * steps);
    int column = 0;
    for (; column + 64 <= head_dim; column += 64) {
      AddColumns<2, false>(weights, weights_stride, rows, offset + 2 * column, steps, 0, out + column, padded_dim, num_rows,
                           accumulate, prefetcher);
    }
    for (; column < head_dim; column += 32) {
      const int left = head_dim - column;
      const __mmask32 mask = left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
      AddColumns<1, true>(weights, weights_stride, rows, offset + 2 * column, steps, mask, out + column, padded_dim, num_rows,
                          accumulate, prefetcher);
    }
  }

  static void Finish(const float* out, float sum, int head_dim, float* result) {
    // Lanes of 4 components: the first vector of a group has lanes 0, 2, 4, 6, the second 1, 3, 5, 7.
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    const Vec divisor = Simd::Set1(sum);
    for (int i = 0; i < head_dim; i += 32) {
      const Vec first = Simd::Load(out + i) / divisor;
      const Vec second = Simd::Load(out + i + 16) / divisor;
      Simd::StoreN(result + i, _mm512_permutex2var_ps(first, low, second), head_dim - i);
      Simd::StoreN(result + i + 16, _mm512_permutex2var_ps(first, high, second), head_dim - i - 16);
    }
  }
};

}  // namespace

const TileKernels* Avx512BF16TileKernels() {
  static const TileKernels kernels = [] {
    TileKernels table = MakeTileKernels<PairFormat>();
    table.scores_directly = PairFormat::ScoresDirectly;
    table.score = PairFormat::Score;
    return table;
  }();
  return &kernels;
}

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const TileKernels* Avx512BF16TileKernels() { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
