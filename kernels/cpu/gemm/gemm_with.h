// The product with given micro kernels, behind kernels::cpu::Gemm, which chooses them by level.
// Layer: kernels/cpu/gemm (private; tests run emulated kernels through it).
#ifndef RATION_KERNELS_CPU_GEMM_GEMM_WITH_H_
#define RATION_KERNELS_CPU_GEMM_GEMM_WITH_H_

#include "kernels/cpu/gemm/micro_kernel.h"
#include "kernels/gemm.h"

namespace ration::kernels::cpu {

// REQUIRES: the kernels are for params.weights.dtype. Thread-compatible like Gemm.
void GemmWith(const GemmParams& params, const MicroKernels& kernels, ThreadPool& pool);

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_GEMM_GEMM_WITH_H_
