// The AMX micro kernel on real tiles. Called only where the processor has AMX and Linux has granted the tile state.
// Layer: kernels/cpu/gemm.
#include "kernels/cpu/gemm/micro_kernel.h"

#ifdef __x86_64__
#include "kernels/cpu/gemm/amx_micro_kernel.h"
#endif

namespace ration::kernels::cpu {

const MicroKernels* AmxBF16() {
#ifdef __x86_64__
  return AmxMicroKernel<HardwareTiles>::Kernels();
#else
  return nullptr;
#endif
}

}  // namespace ration::kernels::cpu
