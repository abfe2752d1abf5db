// Tile kernels for any processor. Layer: kernels/cpu/attention.
#include "kernels/cpu/attention/simd_tile_kernels.h"
#include "kernels/cpu/simd/portable.h"

namespace ration::kernels::cpu {
namespace {

// 4 x 2 vectors of sums, 2 of words and 1 broadcast word: 11 of 16 registers.
template <bool kBF16>
struct PortableFormat : FloatFormat<PortableFormat<kBF16>, PortableSimd, kBF16> {
  static constexpr int kRows = 4;
  static constexpr int kVectors = 2;
};

}  // namespace

const TileKernels* PortableTileKernels(DType dtype) {
  static const TileKernels f32 = MakeTileKernels<PortableFormat<false>>();
  static const TileKernels bf16 = MakeTileKernels<PortableFormat<true>>();
  return dtype == DType::kF32 ? &f32 : &bf16;
}

}  // namespace ration::kernels::cpu
