// Tile kernels for AVX2 and FMA. Layer: kernels/cpu/attention. Compiled with -mavx2 -mfma; see simd/avx2.h.
#include "kernels/cpu/attention/simd_tile_kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "kernels/cpu/simd/avx2.h"

namespace ration::kernels::cpu {
namespace {

// rows[i] becomes column i.
inline void Transpose(__m256i (&rows)[8]) {
  __m256i a[8];
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
  __m256i b[8];
#pragma GCC unroll 16
  for (int i = 0; i < 2; ++i) {
    b[4 * i] = _mm256_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm256_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm256_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm256_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
  }
}

template <bool kBF16>
struct Avx2Format : FloatFormat<Avx2Format<kBF16>, Avx2Simd, kBF16> {
  // 4 x 2 vectors of sums, 2 of words and 1 broadcast word: 11 of 16 registers.
  static constexpr int kRows = 4;
  static constexpr int kVectors = 2;

  // Transposes 8 slots x 8 words at a time; a word of a bfloat16 row is a pair, split after the transposition.
  static void PackKeys(const uint8_t* const* rows, int64_t offset, int count, int head_dim, PrefetchRows& next,
                       uint32_t* keys) {
    constexpr int kPerWord = kBF16 ? 2 : 1;
    const int words = head_dim / kPerWord;
    if (head_dim % (8 * kPerWord) != 0) {
      FloatFormat<Avx2Format<kBF16>, Avx2Simd, kBF16>::PackKeys(rows, offset, count, head_dim, next, keys);
      return;
    }
    Prefetcher prefetcher(next, (count + 7) / 8 * (words / 8));
    for (int slot = 0; slot < count; slot += 8) {
      for (int word = 0; word < words; word += 8) {
        prefetcher.Step();
        __m256i block[8];
#pragma GCC unroll 16
        for (int i = 0; i < 8; ++i) {
          block[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[slot + i] + offset + word * 4));
        }
        Transpose(block);
#pragma GCC unroll 16
        for (int i = 0; i < 8; ++i) {
          uint32_t* out = keys + int64_t{word + i} * kPerWord * kChunkSlots + slot;
          if (kBF16) {
            const __m256i high = _mm256_and_si256(block[i], _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_slli_epi32(block[i], 16));
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + kChunkSlots), high);
          } else {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), block[i]);
          }
        }
      }
    }
  }
};

}  // namespace

const TileKernels* Avx2TileKernels(DType dtype) {
  static const TileKernels f32 = MakeTileKernels<Avx2Format<false>>();
  static const TileKernels bf16 = MakeTileKernels<Avx2Format<true>>();
  return dtype == DType::kF32 ? &f32 : &bf16;
}

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const TileKernels* Avx2TileKernels(DType) { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
