// The micro kernel for vector instruction sets, written once over a small policy of vector operations: kRows rows times
// kVectors vectors of sums stay in registers while x is broadcast and the weights stream past.
// Layer: kernels/cpu/gemm (private). Everything is in an unnamed namespace, as each file that includes this is compiled
// for its own instruction set.
//
// A policy P has: Vec, kLanes, kXBytesPerStep, Zero(), Load(const float*), Store(float*, Vec), Add(Vec, Vec),
// Prefetch(p) and
//   template <int R, int V> Step(Vec (&sums)[R][V], const uint8_t* w, const uint8_t* x)
// which adds one step (kStepBytes of a panel) to the sums.
#ifndef RATION_KERNELS_CPU_GEMM_SIMD_MICRO_KERNEL_H_
#define RATION_KERNELS_CPU_GEMM_SIMD_MICRO_KERNEL_H_

#include <cstdint>

#include "kernels/cpu/gemm/micro_kernel.h"

namespace ration::kernels::cpu {
namespace {

// Up to this many rows the loads alone keep memory busy and the hardware's prefetcher ahead; with more rows they are
// too far apart in time. Then fetching into the second-level cache is right: fetches into the first wait in the same
// few buffers as the loads of x. Measured on Zen 4, 2048 x 16384 bfloat16 at 16 rows: 25.5 GB/s, against 19.0 GB/s with
// fetches into the first level and 17.0 GB/s with none; at 4 rows 32.7, 36.4 and 43.1 GB/s.
constexpr int kMaxRowsWithoutPrefetch = 4;

// Columns [kFirst, kFirst + kVectors * P::kLanes) of the panel. Only the first part of a panel prefetches.
template <class P, int kRows, int kVectors, int kFirst>
inline void RunColumns(const MicroArgs& args) {
  typename P::Vec sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = args.first ? P::Zero() : P::Load(args.sums + r * 32 + kFirst + v * P::kLanes);
    }
  }
  const uint8_t* x = args.x;
  const uint8_t* w = args.w + kFirst * 4;
  const uint8_t* prefetch = args.prefetch;
  const int64_t prefetch_step = args.prefetch_step;
#pragma GCC unroll 4
  for (int64_t step = args.steps; step > 0; --step) {
    if (kFirst == 0 && kRows > kMaxRowsWithoutPrefetch) {
      P::Prefetch(prefetch);
      P::Prefetch(prefetch + prefetch_step / 2);
      prefetch += prefetch_step;
    }
    P::template Step<kRows, kVectors>(sums, w, x);
    w += kStepBytes;
    x += P::kXBytesPerStep;
  }
  if (!args.last) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) P::Store(args.sums + r * 32 + kFirst + v * P::kLanes, sums[r][v]);
    }
    return;
  }
  if (args.bias != nullptr) {
    alignas(64) float bias[kVectors * P::kLanes] = {};
    for (int c = 0; c < kVectors * P::kLanes && kFirst + c < args.columns; ++c) bias[c] = args.bias[kFirst + c];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = P::Add(sums[r][v], P::Load(bias + v * P::kLanes));
    }
  }
  float* y = args.y + kFirst;
  if (kFirst + kVectors * P::kLanes <= args.columns) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) P::Store(y + r * args.y_stride + v * P::kLanes, sums[r][v]);
    }
    return;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    alignas(64) float row[kVectors * P::kLanes];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) P::Store(row + v * P::kLanes, sums[r][v]);
    for (int c = 0; kFirst + c < args.columns; ++c) y[r * args.y_stride + c] = row[c];
  }
}

// The whole panel in one or more passes of kVectors vectors.
template <class P, int kRows, int kVectors>
void RunPanel(const MicroArgs& args) {
  constexpr int kWidth = kVectors * P::kLanes;
  static_assert(kWidth == 32 || kWidth == 16, "a panel is one or two passes");
  RunColumns<P, kRows, kVectors, 0>(args);
  if constexpr (kWidth == 16) {
    if (args.columns > 16 || !args.last) RunColumns<P, kRows, kVectors, 16>(args);
  }
}

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_GEMM_SIMD_MICRO_KERNEL_H_
