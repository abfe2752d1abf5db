// Key packing shared by the AVX-512 formats: 16 slots x 16 words are transposed in registers.
// Layer: kernels/cpu/attention (private). Include only from files compiled for AVX-512; see simd/avx512.h.
#ifndef RATION_KERNELS_CPU_ATTENTION_TRANSPOSE_AVX512_H_
#define RATION_KERNELS_CPU_ATTENTION_TRANSPOSE_AVX512_H_

#include <immintrin.h>
#include <stdint.h>

#include "kernels/cpu/attention/simd_tile_kernels.h"

namespace ration::kernels::cpu {
namespace {

// rows[i] becomes column i.
inline void Transpose(__m512i (&rows)[16]) {
  __m512i a[16];
#pragma GCC unroll 16
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
  // b[4 * i + j]: words j, 4 + j, 8 + j, 12 + j (one a 128-bit lane) of rows 4 * i .. 4 * i + 3.
  __m512i b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 4; ++i) {
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
#pragma GCC unroll 16
  for (int j = 0; j < 4; ++j) {
    const __m512i low01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x44);   // lanes 0, 1 of both
    const __m512i high01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xee);  // lanes 2, 3 of both
    const __m512i low23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x44);
    const __m512i high23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xee);
    rows[j] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    rows[4 + j] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    rows[8 + j] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    rows[12 + j] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
}

// keys[words][kChunkSlots] from rows of `words` words. kSplit: each word is a bfloat16 pair and becomes two float words.
template <bool kSplit>
inline void PackWords(const uint8_t* const* rows, int64_t offset, int count, int words, PrefetchRows& next,
                      uint32_t* keys) {
  Prefetcher prefetcher(next, (count + 15) / 16 * (words / 16) * 16);
  for (int slot = 0; slot < count; slot += 16) {
    for (int word = 0; word < words; word += 16) {
      const int n = words - word < 16 ? words - word : 16;
      const __mmask16 mask = static_cast<__mmask16>((1u << n) - 1);
      __m512i block[16];
      if (n == 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          prefetcher.Step();
          block[i] = _mm512_loadu_si512(rows[slot + i] + offset + word * 4);
        }
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) block[i] = _mm512_maskz_loadu_epi32(mask, rows[slot + i] + offset + word * 4);
      }
      Transpose(block);
      if (kSplit) {
        for (int i = 0; i < n; ++i) {
          uint32_t* out = keys + int64_t{word + i} * 2 * kChunkSlots + slot;
          _mm512_storeu_si512(out, _mm512_slli_epi32(block[i], 16));
          _mm512_storeu_si512(out + kChunkSlots,
                              _mm512_and_si512(block[i], _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
        }
      } else if (n == 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(keys + int64_t{word + i} * kChunkSlots + slot, block[i]);
      } else {
        for (int i = 0; i < n; ++i) _mm512_storeu_si512(keys + int64_t{word + i} * kChunkSlots + slot, block[i]);
      }
    }
  }
}

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ATTENTION_TRANSPOSE_AVX512_H_
