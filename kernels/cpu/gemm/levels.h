// Which micro kernels an instruction set level uses for which weights.
// Layer: kernels/cpu/gemm (private).
#ifndef RATION_KERNELS_CPU_GEMM_LEVELS_H_
#define RATION_KERNELS_CPU_GEMM_LEVELS_H_

#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/gemm/micro_kernel.h"
#include "kernels/dtype.h"
#include "kernels/gemm.h"

namespace ration::kernels::cpu {

// Null if they were not compiled; never for a level that GemmLevelSupported().
const MicroKernels* KernelsOf(CpuLevel level, DType dtype);

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_GEMM_LEVELS_H_
