// The instruction sets that kernels are written for, and which of them is used: chosen once from what the processor has, or
// forced by a test. Results differ between levels by rounding.
// Layer: kernels/cpu. Thread-safe; SetCpuLevelForTesting must not be called while kernels run.
#ifndef RATION_KERNELS_CPU_CPU_LEVEL_H_
#define RATION_KERNELS_CPU_CPU_LEVEL_H_

namespace ration::kernels::cpu {

// Ascending: a processor that supports a level supports those before it.
enum class CpuLevel {
  kPortable,    // whatever the compiler makes of plain code
  kAvx2,        // AVX2 and FMA
  kAvx512,      // AVX-512 F, BW, DQ, VL
  kAvx512BF16,  // and the bfloat16 dot product
  kAmx,         // and tiles of bfloat16, for matrix products; the operating system must have granted their state
};
inline constexpr int kNumCpuLevels = 5;

const char* Name(CpuLevel level);

// The highest level of this processor and operating system.
CpuLevel DetectedCpuLevel();

// The level that kernels use: the detected one, unless a test forced another.
CpuLevel ActiveCpuLevel();

// Makes every kernel use `level`. REQUIRES: level <= DetectedCpuLevel().
void SetCpuLevelForTesting(CpuLevel level);

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_CPU_LEVEL_H_
