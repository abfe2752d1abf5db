// The AMX micro kernel over a policy of tile operations (amx_tiles.h): up to 32 rows times the 32 columns of a panel in
// four tiles of sums, two tiles of x and two of weights - the blocking that loads the fewest tiles for each product of
// tiles. Every product covers 32 k, whatever the rows, so results do not depend on the batch.
// Layer: kernels/cpu/gemm (private).
#ifndef RATION_KERNELS_CPU_GEMM_AMX_MICRO_KERNEL_H_
#define RATION_KERNELS_CPU_GEMM_AMX_MICRO_KERNEL_H_

#include <cstdint>

#include "kernels/cpu/gemm/amx_tiles.h"
#include "kernels/cpu/gemm/micro_kernel.h"

namespace ration::kernels::cpu {

template <class Tiles>
class AmxMicroKernel {
 public:
  static const MicroKernels* Kernels() {
    static constexpr void (*kRun[])(const MicroArgs&) = {
        Run<1>, Run<1>, Run<1>, Run<1>, Run<1>, Run<1>, Run<1>, Run<1>, Run<1>, Run<1>, Run<1>,
        Run<1>, Run<1>, Run<1>, Run<1>, Run<1>, Run<2>, Run<2>, Run<2>, Run<2>, Run<2>, Run<2>,
        Run<2>, Run<2>, Run<2>, Run<2>, Run<2>, Run<2>, Run<2>, Run<2>, Run<2>, Run<2>};
    static constexpr MicroKernels kKernels = {kRun, 2 * kTileRows, kTileRows, false, Enter, Leave};
    return &kKernels;
  }

 private:
  static constexpr int kTileRows = 16;
  static constexpr int64_t kTileSteps = 16;      // pairs along k of one tile of weights
  static constexpr int64_t kSumsBytes = 32 * 4;  // from row to row of the sums

  // Up to 16 rows take tiles of just these rows, which costs less time; with more, the last tile may reach past the
  // last row.
  static void Enter(int64_t rows) {
    TileConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.column_bytes[tile] = 64;
      const bool of_rows = tile < 6;  // 0-3 are sums, 4 and 5 x, 6 and 7 weights
      config.rows[tile] = static_cast<uint8_t>(of_rows && rows < kTileRows ? rows : kTileRows);
    }
    Tiles::Configure(config);
  }
  static void Leave() { Tiles::Release(); }

  template <int kRowTiles>
  static void Run(const MicroArgs& args) {
    uint8_t* sums = reinterpret_cast<uint8_t*>(args.sums);
    uint8_t* lower_sums = sums + kTileRows * kSumsBytes;
    if (args.first) {
      Tiles::template Zero<0>();
      Tiles::template Zero<1>();
      if (kRowTiles == 2) {
        Tiles::template Zero<2>();
        Tiles::template Zero<3>();
      }
    } else {
      Tiles::template Load<0>(sums, kSumsBytes);
      Tiles::template Load<1>(sums + 64, kSumsBytes);
      if (kRowTiles == 2) {
        Tiles::template Load<2>(lower_sums, kSumsBytes);
        Tiles::template Load<3>(lower_sums + 64, kSumsBytes);
      }
    }
    const uint8_t* x = args.x;
    const uint8_t* w = args.w;
    const uint8_t* prefetch = args.prefetch;
    for (int64_t step = 0; step < args.steps; step += kTileSteps) {
      for (int64_t i = 0; i < kTileSteps; ++i) {
        Tiles::Prefetch(prefetch);
        Tiles::Prefetch(prefetch + args.prefetch_step / 2);
        prefetch += args.prefetch_step;
      }
      Tiles::template Load<4>(x, kXRowBytes);
      Tiles::template Load<6>(w, kStepBytes);
      Tiles::template DotBF16<0, 4, 6>();
      Tiles::template Load<7>(w + 64, kStepBytes);
      Tiles::template DotBF16<1, 4, 7>();
      if (kRowTiles == 2) {
        Tiles::template Load<5>(x + kTileRows * kXRowBytes, kXRowBytes);
        Tiles::template DotBF16<2, 5, 6>();
        Tiles::template DotBF16<3, 5, 7>();
      }
      x += kTileSteps * 4;
      w += kTileSteps * kStepBytes;
    }
    Tiles::template Store<0>(sums, kSumsBytes);
    Tiles::template Store<1>(sums + 64, kSumsBytes);
    if (kRowTiles == 2) {
      Tiles::template Store<2>(lower_sums, kSumsBytes);
      Tiles::template Store<3>(lower_sums + 64, kSumsBytes);
    }
    if (args.last) StoreRows(args);
  }

  static void StoreRows(const MicroArgs& args) {
    for (int64_t r = 0; r < args.rows; ++r) {
      const float* sums = args.sums + r * 32;
      float* y = args.y + r * args.y_stride;
      for (int64_t c = 0; c < args.columns; ++c) y[c] = args.bias == nullptr ? sums[c] : sums[c] + args.bias[c];
    }
  }
};

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_GEMM_AMX_MICRO_KERNEL_H_
