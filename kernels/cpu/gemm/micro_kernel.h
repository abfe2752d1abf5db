// The border between the loops of gemm.cc and the instruction sets: one micro kernel multiplies a few rows of x with
// one block of one weight panel, the sums carried in float32 from block to block, so that blocking never changes their
// order.
// Layer: kernels/cpu/gemm (private). Included by files built for other instruction sets: no inline functions here.
#ifndef RATION_KERNELS_CPU_GEMM_MICRO_KERNEL_H_
#define RATION_KERNELS_CPU_GEMM_MICRO_KERNEL_H_

#include <cstdint>

namespace ration::kernels::cpu {

// One row's part of a block of x, and the distance to the next row's: constants, so that all rows of a micro kernel are
// read from one register plus an offset. The odd number of cache lines spreads the rows over the sets of the
// first-level cache. Longer blocks save loads and stores of sums, shorter ones keep 8 rows of x in the first-level
// cache.
constexpr int64_t kXBlockBytes = 1024;
constexpr int64_t kXRowBytes = kXBlockBytes + 64;
// Bytes of a panel that meet one k (float32) or one pair of them (bfloat16).
constexpr int64_t kStepBytes = 128;

struct MicroArgs {
  int64_t rows;      // 1 .. max_rows
  const uint8_t* x;  // this block of the first row
  const uint8_t* w;  // this block of the panel
  int64_t steps;     // kStepBytes each
  float* sums;       // [rows, 32] carried sums; read unless `first`, written unless `last`
  bool first;
  bool last;
  float* y;                 // used if `last`: first row, first column of the panel
  int64_t y_stride;         // floats from row to row
  const float* bias;        // of this panel's columns, or nullptr
  int64_t columns;          // valid columns of the panel, 1 .. 32
  const uint8_t* prefetch;  // weights to be read soon
  int64_t prefetch_step;    // bytes of it to fetch with every step
};

struct MicroKernels {
  // run[rows - 1] multiplies that many rows; max_rows of them.
  void (*const* run)(const MicroArgs& args);
  int max_rows;
  int row_unit;  // rows are best given in multiples of this; up to row_unit - 1 rows of x and sums past the last are
                 // touched
  bool widen_x;  // x is given as float32 although the weights are bfloat16
  // Called on each thread before and after its micro kernels; may be nullptr.
  void (*enter)(int64_t rows);
  void (*leave)();
};

// nullptr where the compiler cannot build the instruction set.
const MicroKernels* PortableF32();
const MicroKernels* PortableBF16();
const MicroKernels* Avx2F32();
const MicroKernels* Avx2BF16();
const MicroKernels* Avx512F32();
const MicroKernels* Avx512WidenBF16();
const MicroKernels* Avx512BF16();
const MicroKernels* AmxBF16();

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_GEMM_MICRO_KERNEL_H_
