// AVX-512 micro kernels: float32, and bfloat16 weights widened in registers where there is no vdpbf16ps. 8 rows x 2
// vectors are 16 sums, four times what covers the FMA latency; more rows would fit the registers, but their x and a
// block of weights not the first-level cache (measured some percent slower on Zen 4).
// Layer: kernels/cpu/gemm. Compiled for AVX-512 F; called only where the processor has it.
#include "kernels/cpu/gemm/micro_kernel.h"

#ifdef __AVX512F__

#include <immintrin.h>

#include "kernels/cpu/gemm/simd_micro_kernel.h"

namespace ration::kernels::cpu {
namespace {

struct Base {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static Vec Zero() { return _mm512_setzero_ps(); }
  static Vec Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static void Prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  static Vec Broadcast(const uint8_t* p) { return _mm512_set1_ps(*reinterpret_cast<const float*>(p)); }
};

struct F32 : Base {
  static constexpr int kXBytesPerStep = 4;
  template <int R, int V>
  static void Step(Vec (&sums)[R][V], const uint8_t* w, const uint8_t* x) {
    Vec weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) weights[v] = _mm512_load_ps(w + v * 64);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec row = Broadcast(x + r * kXRowBytes);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm512_fmadd_ps(row, weights[v], sums[r][v]);
    }
  }
};

struct WidenBF16 : Base {
  static constexpr int kXBytesPerStep = 8;
  template <int R, int V>
  static void Step(Vec (&sums)[R][V], const uint8_t* w, const uint8_t* x) {
    __m512i pairs[V];
    Vec weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      pairs[v] = _mm512_load_si512(w + v * 64);
      weights[v] = _mm512_castsi512_ps((__m512i)((__v16su)pairs[v] << 16));  // GCC 12 warns about _mm512_slli_epi32
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec row = Broadcast(x + r * kXRowBytes);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm512_fmadd_ps(row, weights[v], sums[r][v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      weights[v] = _mm512_castsi512_ps(_mm512_and_si512(pairs[v], _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec row = Broadcast(x + r * kXRowBytes + 4);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm512_fmadd_ps(row, weights[v], sums[r][v]);
    }
  }
};

template <class P>
const MicroKernels* Kernels() {
  static constexpr void (*kRun[])(const MicroArgs&) = {RunPanel<P, 1, 2>, RunPanel<P, 2, 2>, RunPanel<P, 3, 2>,
                                                       RunPanel<P, 4, 2>, RunPanel<P, 5, 2>, RunPanel<P, 6, 2>,
                                                       RunPanel<P, 7, 2>, RunPanel<P, 8, 2>};
  static constexpr MicroKernels kKernels = {kRun, 8, 1, P::kXBytesPerStep == 8, nullptr, nullptr};
  return &kKernels;
}

}  // namespace

const MicroKernels* Avx512F32() { return Kernels<F32>(); }
const MicroKernels* Avx512WidenBF16() { return Kernels<WidenBF16>(); }

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const MicroKernels* Avx512F32() { return nullptr; }
const MicroKernels* Avx512WidenBF16() { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
