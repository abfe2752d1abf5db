// Matrix products with packed weights: y[rows, out] = x[rows, in] W^T + bias. One kernel for every number of rows. It
// exists for two reasons. Results must not depend on the batch: a row's result is bit-identical whatever the number of
// rows in the call, its place among them and the number of threads, as every output element is summed over `in` in one
// fixed order. Libraries do not promise that: of 329 rows in batches of 2 to 200, at::linear gave 327 another float32
// result than the same row alone (64 x 512; oneDNN none, but it packs weights anew for every row count). And a decode
// step must read its weights at the memory's speed: cold 2048 x 2048 bfloat16, one row, two Zen 4 cores with 49 GB/s:
// 43 GB/s, oneDNN 26, at::linear 17. tests/bench/linear_bench measures both.
// Layer: kernels (plain data in, plain data out).
//
// Weights lie in panels of kPanelColumns output columns, so that a decode step reads them as one sequential stream:
//   float32   [panel][k][column]
//   bfloat16  [panel][k / 2][column][2]   (pairs along k, as vdpbf16ps and tdpbf16ps read them)
// Columns past `out` and k past `in` are zeros.
#ifndef RATION_KERNELS_GEMM_H_
#define RATION_KERNELS_GEMM_H_

#include <cstdint>

#include "kernels/cpu/cpu_level.h"
#include "kernels/dtype.h"

namespace ration::kernels {

inline constexpr int64_t kPanelColumns = 32;

// Element types of a weight as a checkpoint stores it.
enum class SourceType : uint8_t { kF32, kF16, kBF16 };

// Packed weights, not owned.
struct PackedWeights {
  const uint8_t* data = nullptr;  // 64-byte aligned
  DType dtype = DType::kF32;
  int64_t in = 0;         // > 0
  int64_t out = 0;        // > 0
  int64_t in_padded = 0;  // PaddedIn(in, dtype)

  int64_t num_panels() const { return (out + kPanelColumns - 1) / kPanelColumns; }
  int64_t panel_bytes() const { return in_padded * kPanelColumns * SizeOf(dtype); }
  int64_t num_bytes() const { return num_panels() * panel_bytes(); }
};

// bfloat16 panels are padded to whole AMX tiles (32 along k) whatever the machine, float32 ones not at all.
constexpr int64_t PaddedIn(int64_t in, DType dtype) { return dtype == DType::kBF16 ? (in + 31) / 32 * 32 : in; }

struct GemmParams {
  PackedWeights weights;
  const float* bias = nullptr;  // [out], or nullptr
  const void* x = nullptr;      // [rows, in] of weights.dtype, contiguous
  int64_t rows = 0;             // >= 0
  float* y = nullptr;           // [rows, out], contiguous
};

namespace reference {
// Double precision over the packed weights, plain loops.
void Gemm(const GemmParams& params);
}  // namespace reference

namespace cpu {
class ThreadPool;

// The best level that this processor has and matrix products were compiled for.
CpuLevel BestGemmLevel();
bool GemmLevelSupported(CpuLevel level);

// Writes one panel: columns [panel * kPanelColumns, ...) of the stacked outputs. `row(column)` sources are given as
// pointers to `in` contiguous elements each of `type`, nullptr for columns past the end.
struct PanelSource {
  const void* columns[kPanelColumns];
  SourceType types[kPanelColumns];
};
void PackPanel(const PanelSource& source, int64_t in, DType dtype, uint8_t* panel);

// Thread-compatible: one call at a time a pool. Small products run on the calling thread alone.
void Gemm(const GemmParams& params, CpuLevel level, ThreadPool& pool);
}  // namespace cpu

}  // namespace ration::kernels

#endif  // RATION_KERNELS_GEMM_H_
