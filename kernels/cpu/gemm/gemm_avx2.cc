// AVX2 + FMA micro kernels: float32, and bfloat16 weights widened in registers (half the bytes to read of float32
// weights). Up to 2 rows take the panel at once (4 vectors); 3 to 6 take it in two passes of 2 vectors, 12 sums in 16
// registers; widening needs one register more, so 5 rows are its limit.
// Layer: kernels/cpu/gemm. Compiled for AVX2 and FMA; called only where the processor has them.
#include "kernels/cpu/gemm/micro_kernel.h"

#if defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

#include "kernels/cpu/gemm/simd_micro_kernel.h"

namespace ration::kernels::cpu {
namespace {

struct Base {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static Vec Zero() { return _mm256_setzero_ps(); }
  static Vec Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
  static Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static void Prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  static Vec Broadcast(const uint8_t* p) { return _mm256_broadcast_ss(reinterpret_cast<const float*>(p)); }
};

struct F32 : Base {
  static constexpr int kXBytesPerStep = 4;
  template <int R, int V>
  static void Step(Vec (&sums)[R][V], const uint8_t* w, const uint8_t* x) {
    Vec weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) weights[v] = _mm256_load_ps(reinterpret_cast<const float*>(w + v * 32));
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec row = Broadcast(x + r * kXRowBytes);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm256_fmadd_ps(row, weights[v], sums[r][v]);
    }
  }
};

struct WidenBF16 : Base {
  static constexpr int kXBytesPerStep = 8;
  template <int R, int V>
  static void Step(Vec (&sums)[R][V], const uint8_t* w, const uint8_t* x) {
    Vec weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m256i pairs = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + v * 32));
      weights[v] = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec row = Broadcast(x + r * kXRowBytes);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm256_fmadd_ps(row, weights[v], sums[r][v]);
    }
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m256i pairs = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + v * 32));
      weights[v] = _mm256_castsi256_ps(_mm256_and_si256(pairs, upper));
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec row = Broadcast(x + r * kXRowBytes + 4);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm256_fmadd_ps(row, weights[v], sums[r][v]);
    }
  }
};

template <class P>
const MicroKernels* Kernels() {
  constexpr bool kWidens = P::kXBytesPerStep == 8;
  static constexpr void (*kRun[])(const MicroArgs&) = {RunPanel<P, 1, 4>, RunPanel<P, 2, 4>, RunPanel<P, 3, 2>,
                                                       RunPanel<P, 4, 2>, RunPanel<P, 5, 2>, RunPanel<P, 6, 2>};
  static constexpr MicroKernels kKernels = {kRun, kWidens ? 5 : 6, 1, kWidens, nullptr, nullptr};
  return &kKernels;
}

}  // namespace

const MicroKernels* Avx2F32() { return Kernels<F32>(); }
const MicroKernels* Avx2BF16() { return Kernels<WidenBF16>(); }

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const MicroKernels* Avx2F32() { return nullptr; }
const MicroKernels* Avx2BF16() { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
