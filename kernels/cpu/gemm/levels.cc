// The table of micro kernels, and which of its rows can run here.
// Layer: kernels/cpu/gemm. Thread-safe.
#include "kernels/cpu/gemm/levels.h"

namespace ration::kernels::cpu {
namespace {

CpuLevel FindBestLevel() {
  int level = static_cast<int>(DetectedCpuLevel());
  while (!GemmLevelSupported(static_cast<CpuLevel>(level))) --level;
  return static_cast<CpuLevel>(level);
}

}  // namespace

CpuLevel BestGemmLevel() {
  static const CpuLevel best = FindBestLevel();
  return best;
}

bool GemmLevelSupported(CpuLevel level) {
  return level <= DetectedCpuLevel() && KernelsOf(level, DType::kF32) != nullptr &&
         KernelsOf(level, DType::kBF16) != nullptr;
}

const MicroKernels* KernelsOf(CpuLevel level, DType dtype) {
  const bool bf16 = dtype == DType::kBF16;
  switch (level) {
    case CpuLevel::kPortable:
      return bf16 ? PortableBF16() : PortableF32();
    case CpuLevel::kAvx2:
      return bf16 ? Avx2BF16() : Avx2F32();
    case CpuLevel::kAvx512:
      return bf16 ? Avx512WidenBF16() : Avx512F32();
    case CpuLevel::kAvx512BF16:
      return bf16 ? Avx512BF16() : Avx512F32();
    case CpuLevel::kAmx:
      return bf16 ? AmxBF16() : Avx512F32();
  }
  return PortableF32();
}

}  // namespace ration::kernels::cpu
