// Vector operations on 16 floats with AVX-512 F, BW, DQ, VL. See portable.h for what a policy is.
// Layer: kernels/cpu (private). Include only from files compiled with those options, which must not call other inline
// functions with external linkage: the linker could give their AVX-512 code to everyone.
#ifndef RATION_KERNELS_CPU_SIMD_AVX512_H_
#define RATION_KERNELS_CPU_SIMD_AVX512_H_

#include <immintrin.h>
#include <stdint.h>

namespace ration::kernels::cpu {
namespace {

struct Avx512Simd {
  using Vec = __m512;
  static constexpr int kLanes = 16;

  static Vec Zero() { return _mm512_setzero_ps(); }
  static Vec Set1(float x) { return _mm512_set1_ps(x); }
  static Vec Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  // Bits below n, for n of any size.
  static __mmask16 Mask(int n) {
    return n >= kLanes ? static_cast<__mmask16>(0xffff) : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1);
  }
  static Vec LoadN(const float* p, int n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void StoreN(float* p, Vec v, int n) { _mm512_mask_storeu_ps(p, Mask(n), v); }
  static Vec LoadBF16N(const uint16_t* p, int n) {
    const __m256i half = _mm256_maskz_loadu_epi16(Mask(n), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  // The upper halves of the lanes, rounded to nearest even; a NaN stays a NaN.
  static __m512i RoundedUpperHalves(Vec v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x00400000));
  }
  static Vec RoundBF16(Vec v) {
    return _mm512_castsi512_ps(_mm512_and_si512(RoundedUpperHalves(v), _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
  }
  static void StoreBF16N(uint16_t* p, Vec v, int n) {
    const __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(RoundedUpperHalves(v), 16));
    _mm256_mask_storeu_epi16(p, Mask(n), half);
  }
  static Vec MulAdd(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
  static Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
  // 2^x, relative error below 2e-7: x = n + f with |f| <= 1/2, a minimax polynomial for 2^f.
  static Vec Exp2(Vec x) {
    x = _mm512_max_ps(x, Set1(-160.0f));  // 2^-160 is 0 in float32; keeps -infinity out of the subtraction
    const Vec n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec f = _mm512_sub_ps(x, n);
    Vec p = Set1(0.00132764722f);
    p = MulAdd(p, f, Set1(0.00967554133f));
    p = MulAdd(p, f, Set1(0.0555071327f));
    p = MulAdd(p, f, Set1(0.240221197f));
    p = MulAdd(p, f, Set1(0.693146967f));
    p = MulAdd(p, f, Set1(1.0f));
    return _mm512_scalef_ps(p, n);
  }
  static Vec FirstLanes(Vec x, int n, Vec other) { return _mm512_mask_blend_ps(Mask(n), other, x); }
  static float ReduceMax(Vec v) { return _mm512_reduce_max_ps(v); }
  static float ReduceSum(Vec v) { return _mm512_reduce_add_ps(v); }
};

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_SIMD_AVX512_H_
