// Row kernels for avx2. Layer: kernels/cpu/elementwise. Compiled for it; see simd/avx2.h.
#include "kernels/cpu/elementwise/simd_row_kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "kernels/cpu/simd/avx2.h"

namespace ration::kernels::cpu {

const RowKernels* Avx2RowKernels() {
  static const RowKernels kernels = Rows<Avx2Simd>::Make();
  return &kernels;
}

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const RowKernels* Avx2RowKernels() { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
