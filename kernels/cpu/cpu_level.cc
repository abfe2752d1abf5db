// See the header.
#include "kernels/cpu/cpu_level.h"

#include <atomic>

namespace ration::kernels::cpu {
namespace {

CpuLevel Detect() {
#if defined(__x86_64__)
  // The compiler's run-time library also asks whether the operating system saves the registers.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::kPortable;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return CpuLevel::kAvx2;
  }
  return __builtin_cpu_supports("avx512bf16") ? CpuLevel::kAvx512BF16 : CpuLevel::kAvx512;
#else
  return CpuLevel::kPortable;
#endif
}

std::atomic<CpuLevel>& Active() {
  static std::atomic<CpuLevel> active{DetectedCpuLevel()};
  return active;
}

}  // namespace

const char* Name(CpuLevel level) {
  switch (level) {
    case CpuLevel::kPortable: return "portable";
    case CpuLevel::kAvx2: return "avx2";
    case CpuLevel::kAvx512: return "avx512";
    case CpuLevel::kAvx512BF16: return "avx512_bf16";
  }
  return "unknown";
}

CpuLevel DetectedCpuLevel() {
  static const CpuLevel detected = Detect();
  return detected;
}

CpuLevel ActiveCpuLevel() { return Active().load(std::memory_order_relaxed); }

void SetCpuLevelForTesting(CpuLevel level) { Active().store(level, std::memory_order_relaxed); }

}  // namespace ration::kernels::cpu
