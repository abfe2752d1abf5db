// Vector operations on 8 floats with AVX2 and FMA. See portable.h for what a policy is.
// Layer: kernels/cpu (private). Include only from files compiled with -mavx2 -mfma, which must not call other inline
// functions with external linkage: the linker could give their AVX2 code to everyone.
#ifndef RATION_KERNELS_CPU_SIMD_AVX2_H_
#define RATION_KERNELS_CPU_SIMD_AVX2_H_

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace ration::kernels::cpu {
namespace {

struct Avx2Simd {
  using Vec = __m256;
  static constexpr int kLanes = 8;

  static Vec Zero() { return _mm256_setzero_ps(); }
  static Vec Set1(float x) { return _mm256_set1_ps(x); }
  static Vec Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  // All ones in lanes below n.
  static __m256i Mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vec LoadN(const float* p, int n) { return _mm256_maskload_ps(p, Mask(n)); }
  static void StoreN(float* p, Vec v, int n) { _mm256_maskstore_ps(p, Mask(n), v); }
  static Vec LoadBF16N(const uint16_t* p, int n) {
    __m128i half = _mm_setzero_si128();
    if (n >= kLanes) {
      half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    } else {
      memcpy(&half, p, 2 * n);
    }
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  // The upper halves of the lanes, rounded to nearest even; a NaN stays a NaN.
  static __m256i RoundedUpperHalves(Vec v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    const __m256 is_nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan));
  }
  static Vec RoundBF16(Vec v) {
    return _mm256_castsi256_ps(_mm256_and_si256(RoundedUpperHalves(v), _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static void StoreBF16N(uint16_t* p, Vec v, int n) {
    const __m256i words = _mm256_srli_epi32(RoundedUpperHalves(v), 16);
    const __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    if (n >= kLanes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), half);
    } else {
      memcpy(p, &half, 2 * n);
    }
  }
  static Vec MulAdd(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
  static Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec Min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
  // 2^x, relative error below 2e-7: x = n + f with |f| <= 1/2, a minimax polynomial for 2^f. 0 below -126.5.
  static Vec Exp2(Vec x) {
    x = _mm256_min_ps(_mm256_max_ps(x, Set1(-127.0f)), Set1(127.49f));
    const Vec n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec f = _mm256_sub_ps(x, n);
    Vec p = Set1(0.00132764722f);
    p = MulAdd(p, f, Set1(0.00967554133f));
    p = MulAdd(p, f, Set1(0.0555071327f));
    p = MulAdd(p, f, Set1(0.240221197f));
    p = MulAdd(p, f, Set1(0.693146967f));
    p = MulAdd(p, f, Set1(1.0f));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
  }
  static Vec FirstLanes(Vec x, int n, Vec other) { return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(Mask(n))); }
  static float ReduceMax(Vec v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    x = _mm_max_ss(x, _mm_movehdup_ps(x));
    return _mm_cvtss_f32(x);
  }
  static float ReduceSum(Vec v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    x = _mm_add_ss(x, _mm_movehdup_ps(x));
    return _mm_cvtss_f32(x);
  }
};

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_SIMD_AVX2_H_
