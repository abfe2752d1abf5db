// Finds out at run time what the processor and the operating system allow.
// Layer: kernels/cpu/gemm. Thread-safe.
#include "kernels/cpu/gemm/levels.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ration::kernels::cpu {
namespace {

#ifdef __x86_64__

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool HasAvx512() { return HasAvx2() && __builtin_cpu_supports("avx512f"); }
bool HasAvx512Bf16() {
  return HasAvx512() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16");
}

// Linux hands out the 8 KiB of tile state only to processes that ask for it.
bool HasAmx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!HasAvx512() || __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  if ((edx & kAmxBf16) == 0 || (edx & kAmxTile) == 0) return false;
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureTileData = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
}

#else

bool HasAvx2() { return false; }
bool HasAvx512() { return false; }
bool HasAvx512Bf16() { return false; }
bool HasAmx() { return false; }

#endif

GemmLevel FindBestLevel() {
  if (AmxBF16() != nullptr && Avx512F32() != nullptr && HasAmx()) return GemmLevel::kAmx;
  if (Avx512BF16() != nullptr && Avx512F32() != nullptr && HasAvx512Bf16()) return GemmLevel::kAvx512Bf16;
  if (Avx512F32() != nullptr && HasAvx512()) return GemmLevel::kAvx512;
  if (Avx2F32() != nullptr && HasAvx2()) return GemmLevel::kAvx2;
  return GemmLevel::kPortable;
}

}  // namespace

GemmLevel BestGemmLevel() {
  static const GemmLevel best = FindBestLevel();
  return best;
}

bool GemmLevelSupported(GemmLevel level) {
#ifdef __x86_64__
  // AMX implies AVX-512 but not its BF16 part.
  if (level == GemmLevel::kAvx512Bf16) return Avx512BF16() != nullptr && HasAvx512Bf16();
#endif
  return level <= BestGemmLevel();
}

const char* Name(GemmLevel level) {
  switch (level) {
    case GemmLevel::kPortable:
      return "portable";
    case GemmLevel::kAvx2:
      return "AVX2";
    case GemmLevel::kAvx512:
      return "AVX-512";
    case GemmLevel::kAvx512Bf16:
      return "AVX-512 BF16";
    case GemmLevel::kAmx:
      return "AMX";
  }
  return "unknown";
}

const MicroKernels* KernelsOf(GemmLevel level, DType dtype) {
  const bool bf16 = dtype == DType::kBF16;
  switch (level) {
    case GemmLevel::kPortable:
      return bf16 ? PortableBF16() : PortableF32();
    case GemmLevel::kAvx2:
      return bf16 ? Avx2BF16() : Avx2F32();
    case GemmLevel::kAvx512:
      return bf16 ? Avx512WidenBF16() : Avx512F32();
    case GemmLevel::kAvx512Bf16:
      return bf16 ? Avx512BF16() : Avx512F32();
    case GemmLevel::kAmx:
      return bf16 ? AmxBF16() : Avx512F32();
  }
  return PortableF32();
}

}  // namespace ration::kernels::cpu
