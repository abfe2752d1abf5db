// Tile kernels for AVX-512 with float32 products. Layer: kernels/cpu/attention. Compiled for AVX-512; see simd/avx512.h.
#include "kernels/cpu/attention/simd_tile_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "kernels/cpu/attention/transpose_avx512.h"
#include "kernels/cpu/simd/avx512.h"

namespace ration::kernels::cpu {
namespace {

template <bool kBF16>
struct Avx512Format : FloatFormat<Avx512Format<kBF16>, Avx512Simd, kBF16> {
  // 4 x 4 vectors of sums hide the latency of a multiply-add.
  static constexpr int kRows = 4;
  static constexpr int kVectors = 4;

  static void PackKeys(const uint8_t* const* rows, int64_t offset, int count, int head_dim, PrefetchRows& next,
                       uint32_t* keys) {
    if (!kBF16) {
      PackWords<false>(rows, offset, count, head_dim, next, keys);
    } else if (head_dim % 2 == 0) {
      PackWords<true>(rows, offset, count, head_dim / 2, next, keys);
    } else {
      FloatFormat<Avx512Format<kBF16>, Avx512Simd, kBF16>::PackKeys(rows, offset, count, head_dim, next, keys);
    }
  }
};

}  // namespace

const TileKernels* Avx512TileKernels(DType dtype) {
  static const TileKernels f32 = MakeTileKernels<Avx512Format<false>>();
  static const TileKernels bf16 = MakeTileKernels<Avx512Format<true>>();
  return dtype == DType::kF32 ? &f32 : &bf16;
}

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const TileKernels* Avx512TileKernels(DType) { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
