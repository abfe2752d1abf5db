// Chooses the tile kernels of the active level. Layer: kernels/cpu/attention.
#include "kernels/cpu/attention/tile_kernels.h"

namespace ration::kernels::cpu {

const TileKernels& ActiveTileKernels(DType dtype) {
  const CpuLevel level = ActiveCpuLevel();
  const TileKernels* kernels = nullptr;
  if (level >= CpuLevel::kAvx512BF16 && dtype == DType::kBF16) kernels = Avx512BF16TileKernels();
  if (kernels == nullptr && level >= CpuLevel::kAvx512) kernels = Avx512TileKernels(dtype);
  if (kernels == nullptr && level >= CpuLevel::kAvx2) kernels = Avx2TileKernels(dtype);
  return kernels != nullptr ? *kernels : *PortableTileKernels(dtype);
}

}  // namespace ration::kernels::cpu
