// Row kernels for any processor. Layer: kernels/cpu/elementwise.
#include "kernels/cpu/elementwise/simd_row_kernels.h"
#include "kernels/cpu/simd/portable.h"

namespace ration::kernels::cpu {

const RowKernels* PortableRowKernels() {
  static const RowKernels kernels = Rows<PortableSimd>::Make();
  return &kernels;
}

}  // namespace ration::kernels::cpu
