// Micro kernels in plain C++ for processors without one of their own. Slow but right; the compiler vectorises the
// columns.
// Layer: kernels/cpu/gemm. Built without contraction into fused multiply-adds, so every row count rounds alike.
#include <cstdint>
#include <cstring>

#include "kernels/cpu/gemm/micro_kernel.h"

namespace ration::kernels::cpu {
namespace {

constexpr int kColumns = 32;

float FloatAt(const uint8_t* p) {
  float value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

// Adds x times one float32 weight a column.
void AddF32(const uint8_t* w, float x, float* sums) {
  for (int c = 0; c < kColumns; ++c) sums[c] += x * FloatAt(w + c * 4);
}

// Adds the products of a pair along k with bfloat16 weights, the lower k first.
void AddPair(const uint8_t* w, float x0, float x1, float* sums) {
  for (int c = 0; c < kColumns; ++c) {
    uint32_t pair;
    std::memcpy(&pair, w + c * 4, sizeof(pair));
    const uint32_t low = pair << 16, high = pair & 0xffff0000u;
    float w0, w1;
    std::memcpy(&w0, &low, sizeof(w0));
    std::memcpy(&w1, &high, sizeof(w1));
    sums[c] += x0 * w0;
    sums[c] += x1 * w1;
  }
}

template <bool kBF16>
void RunRow(const MicroArgs& args) {
  float sums[kColumns] = {};
  if (!args.first) std::memcpy(sums, args.sums, sizeof(sums));
  for (int64_t step = 0; step < args.steps; ++step) {
    const uint8_t* w = args.w + step * kStepBytes;
    if (kBF16) {
      AddPair(w, FloatAt(args.x + step * 8), FloatAt(args.x + step * 8 + 4), sums);
    } else {
      AddF32(w, FloatAt(args.x + step * 4), sums);
    }
  }
  if (!args.last) {
    std::memcpy(args.sums, sums, sizeof(sums));
    return;
  }
  for (int64_t c = 0; c < args.columns; ++c) args.y[c] = args.bias == nullptr ? sums[c] : sums[c] + args.bias[c];
}

constexpr void (*kRunF32[])(const MicroArgs&) = {RunRow<false>};
constexpr void (*kRunBF16[])(const MicroArgs&) = {RunRow<true>};
constexpr MicroKernels kF32 = {kRunF32, 1, 1, false, nullptr, nullptr};
constexpr MicroKernels kBF16 = {kRunBF16, 1, 1, true, nullptr, nullptr};

}  // namespace

const MicroKernels* PortableF32() { return &kF32; }
const MicroKernels* PortableBF16() { return &kBF16; }

}  // namespace ration::kernels::cpu
