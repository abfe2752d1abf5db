// See the header.
#include "kernels/cpu/cpu_level.h"

#include <atomic>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ration::kernels::cpu {
namespace {

#if defined(__x86_64__)
// Linux hands out the 8 KiB of tile state only to processes that ask for it.
bool HasAmx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  if ((edx & kAmxBf16) == 0 || (edx & kAmxTile) == 0) return false;
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
}
#endif

CpuLevel Detect() {
#if defined(__x86_64__)
  // The compiler's run-time library also asks whether the operating system saves the registers.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::kPortable;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return CpuLevel::kAvx2;
  }
  if (!__builtin_cpu_supports("avx512bf16")) return CpuLevel::kAvx512;
  return HasAmx() ? CpuLevel::kAmx : CpuLevel::kAvx512BF16;
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
    case CpuLevel::kAmx: return "amx";
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
