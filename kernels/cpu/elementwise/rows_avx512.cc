// Row kernels for avx512. Layer: kernels/cpu/elementwise. Compiled for it; see simd/avx512.h.
#include "kernels/cpu/elementwise/simd_row_kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#include "kernels/cpu/simd/avx512.h"

namespace ration::kernels::cpu {

const RowKernels* Avx512RowKernels() {
  static const RowKernels kernels = Rows<Avx512Simd>::Make();
  return &kernels;
}

}  // namespace ration::kernels::cpu

#else

namespace ration::kernels::cpu {
const RowKernels* Avx512RowKernels() { return nullptr; }
}  // namespace ration::kernels::cpu

#endif
