// The few AMX instructions the tile kernel needs, as a policy with two implementations: the real ones and a plain C++
// twin that computes what they are documented to compute, so that the kernel's logic is tested on machines without AMX.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2 (LDTILECFG, TDPBF16PS).
// Layer: kernels/cpu/gemm (private). Tile state belongs to the thread.
#ifndef RATION_KERNELS_CPU_GEMM_AMX_TILES_H_
#define RATION_KERNELS_CPU_GEMM_AMX_TILES_H_

#include <cstdint>
#include <cstring>

namespace ration::kernels::cpu {

// The memory operand of ldtilecfg.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64, "fixed by the instruction set");

#ifdef __x86_64__

// Written as assembly, which needs no compiler flags, and because GCC 12's _tile_loadconfig names only 8 of the 64
// bytes as its input, so that the stores which fill the rest are dropped.
struct HardwareTiles {
  static void Configure(const TileConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
  static void Release() { asm volatile("tilerelease" ::: "memory"); }
  template <int kTile>
  static void Zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void Load(const void* base, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(base), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void Store(void* base, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(base), "r"(stride), "i"(kTile) : "memory");
  }
  // sums += a * b, with a [rows, 16 pairs along k] and b [16 pairs, 16 columns].
  template <int kSums, int kA, int kB>
  static void DotBF16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kA), "i"(kB));
  }
  static void Prefetch(const uint8_t* p) { __builtin_prefetch(p, 0, 2); }
};

#endif

// Differs from the instructions only in keeping denormals, which they take for zeros.
struct EmulatedTiles {
  struct State {
    TileConfig config;  // no rows until configured
    uint8_t tiles[8][16][64];
  };
  static State& state() {
    static thread_local State state;
    return state;
  }
  static void Configure(const TileConfig& config) {
    State& s = state();
    s.config = config;
    std::memset(s.tiles, 0, sizeof(s.tiles));
  }
  static void Release() { state().config = TileConfig(); }
  template <int kTile>
  static void Zero() {
    std::memset(state().tiles[kTile], 0, sizeof(state().tiles[kTile]));
  }
  template <int kTile>
  static void Load(const void* base, int64_t stride) {
    State& s = state();
    std::memset(s.tiles[kTile], 0, sizeof(s.tiles[kTile]));
    for (int r = 0; r < s.config.rows[kTile]; ++r) {
      std::memcpy(s.tiles[kTile][r], static_cast<const uint8_t*>(base) + r * stride, s.config.column_bytes[kTile]);
    }
  }
  template <int kTile>
  static void Store(void* base, int64_t stride) {
    const State& s = state();
    for (int r = 0; r < s.config.rows[kTile]; ++r) {
      std::memcpy(static_cast<uint8_t*>(base) + r * stride, s.tiles[kTile][r], s.config.column_bytes[kTile]);
    }
  }
  // Even and odd k are summed apart within a tile and meet in the destination, as the manual's pseudocode has it.
  template <int kSums, int kA, int kB>
  static void DotBF16() {
    State& s = state();
    for (int m = 0; m < s.config.rows[kSums]; ++m) {
      float even[16] = {}, odd[16] = {}, sums[16];
      for (int k = 0; k < s.config.column_bytes[kA] / 4; ++k) {
        uint32_t a, b[16];
        std::memcpy(&a, &s.tiles[kA][m][k * 4], 4);
        std::memcpy(b, s.tiles[kB][k], 64);
        for (int n = 0; n < 16; ++n) {
          even[n] += Float(a << 16) * Float(b[n] << 16);  // exact products
          odd[n] += Float(a & 0xffff0000u) * Float(b[n] & 0xffff0000u);
        }
      }
      std::memcpy(sums, s.tiles[kSums][m], 64);
      for (int n = 0; n < 16; ++n) sums[n] += even[n] + odd[n];
      std::memcpy(s.tiles[kSums][m], sums, 64);
    }
  }
  static void Prefetch(const uint8_t*) {}

 private:
  static float Float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_GEMM_AMX_TILES_H_
