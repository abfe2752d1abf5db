// Chooses the row kernels of the active level. Layer: kernels/cpu/elementwise.
#include "kernels/cpu/elementwise/row_kernels.h"

namespace ration::kernels::cpu {

const RowKernels& ActiveRowKernels() {
  const CpuLevel level = ActiveCpuLevel();
  const RowKernels* kernels = nullptr;
  if (level >= CpuLevel::kAvx512) kernels = Avx512RowKernels();
  if (kernels == nullptr && level >= CpuLevel::kAvx2) kernels = Avx2RowKernels();
  return kernels != nullptr ? *kernels : *PortableRowKernels();
}

}  // namespace ration::kernels::cpu
