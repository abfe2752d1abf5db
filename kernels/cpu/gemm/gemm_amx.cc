#include "kernels/cpu/gemm/micro_kernel.h"
namespace ration::kernels::cpu {
const MicroKernels* AmxBF16() { return nullptr; }
}  // namespace ration::kernels::cpu
