// AVX-512 BF16 micro kernel: vdpbf16ps multiplies pairs along k and adds both products to a float32 sum. 8 rows x 2
// vectors: 12 rows would fit the registers, too, but their x and a block of weights not the first-level cache; on Zen 4
// 0.44 against 0.40 TFLOP/s on two cores at 32 rows of 2048 x 16384, whose peak is 0.46. On AMD's Zen 4 vdpbf16ps runs
// at twice the float32 FMA rate; on Intel's Sapphire Rapids at half of it, where AMX takes over.
// Layer: kernels/cpu/gemm. Compiled for AVX-512 BF16; called only where the processor has it.
#include "kernels/cpu/gemm/micro_kernel.h"

#ifdef __AVX512BF16__

#include <immintrin.h>

#include "kernels/cpu/gemm/simd_micro_kernel.h"

namespace ration::kernels::cpu {
namespace {

struct DotBF16 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kXBytesPerStep = 4;
  static Vec Zero() { return _mm512_setzero_ps(); }
  static Vec Load(const float* p) { return _mm512_loadu_ps(p); }
  static void Store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
  static Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static void Prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
  template <int R, int V>
  static void Step(Vec (&sums)[R][V], const uint8_t* w, const uint8_t* x) {
    __m512bh weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) weights[v] = (__m512bh)_mm512_load_si512(w + v * 64);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512bh row = (__m512bh)_mm512_set1_epi32(*reinterpret_cast<const int*>(x + r * kXRowBytes));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], row, weights[v]);
    }
  }
};

using P = DotBF16;
constexpr void (*kRun[])(const MicroArgs&) = {RunPanel<P, 1, 2>, RunPanel<P, 2, 2>, RunPanel<P, 3, 2>,
                                              RunPanel<P, 4, 2>, RunPanel<P, 5, 2>, RunPanel<P, 6, 2>,
                                              RunPanel<P, 7, 2>, RunPanel<P, 8, 2>};
constexpr MicroKernels kKernels = {kRun, 8, 1, false, nullptr, nullptr};

}  // namespace

const MicroKernels* Avx512BF16() { return &kKernels; }

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const MicroKernels* Avx512BF16() { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
