// The tile kernels, written once over a policy of vector operations (../simd) and a packing format.
// Layer: kernels/cpu/attention (private). Unnamed namespace: each file that includes this is compiled for its own instruction
// set. See tile_kernels.h for what each function does.
//
// A format F has: Simd; kSlotsPerWord; KeyWords; PackQuery; PackKeys; AddValues; Finish; Weigh, which does what
// Softmax does once the largest score is known; and Step(sum, a, b), which adds the product of two words in each lane.
#ifndef RATION_KERNELS_CPU_ATTENTION_SIMD_TILE_KERNELS_H_
#define RATION_KERNELS_CPU_ATTENTION_SIMD_TILE_KERNELS_H_

#include <stdint.h>

#include "kernels/cpu/attention/tile_kernels.h"

namespace ration::kernels::cpu {
namespace {

// Hands out the rows to fetch evenly over `num_steps` steps; what is left, at its end. They go to the second-level cache: the first is full of the chunk at
// work, and pages of equal alignment would push each other out of it (measured: 15-25 % slower).
class Prefetcher {
 public:
  Prefetcher(PrefetchRows& next, int64_t num_steps) : next_(next) {
    if (next.budget >= num_steps) {
      burst_ = num_steps > 0 ? static_cast<int>((next.budget + num_steps - 1) / num_steps) : 0;
    } else if (next.budget > 0) {
      interval_ = static_cast<int>(num_steps / next.budget);
    }
    wait_ = interval_;
  }
  ~Prefetcher() {
    while (next_.budget > 0) next_.FetchRow();
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  void Step() {
    if (--wait_ > 0) return;
    wait_ = interval_;
    for (int i = 0; i < burst_ && next_.budget > 0; ++i) next_.FetchRow();
  }

 private:
  PrefetchRows& next_;
  int burst_ = 1;
  int interval_ = 1;
  int wait_ = 1;
};

// kRows rows times kVectors vectors of sums in registers.
template <class F, int kRows, int kVectors>
inline void MultiplyBlock(const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride, float* sums,
                          int64_t sums_stride, int steps, bool accumulate, Prefetcher& prefetcher) {
  using Simd = typename F::Simd;
  using Vec = typename Simd::Vec;
  Vec acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = accumulate ? Simd::Load(sums + r * sums_stride + v * Simd::kLanes) : Simd::Zero();
    }
  }
  for (int64_t step = 0; step < steps; ++step) {
    prefetcher.Step();
    Vec words[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      words[v] = Simd::Load(reinterpret_cast<const float*>(b) + step * b_stride + v * Simd::kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      float scalar;
      __builtin_memcpy(&scalar, a + r * a_stride + step, 4);
      const Vec word = Simd::Set1(scalar);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[r][v] = F::Step(acc[r][v], word, words[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) Simd::Store(sums + r * sums_stride + v * Simd::kLanes, acc[r][v]);
  }
}

template <class F, int kVectors>
void MultiplyColumns(const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride, float* sums,
                     int64_t sums_stride, int num_rows, int steps, bool accumulate, Prefetcher& prefetcher) {
  constexpr int kRows = F::kRows;
  int row = 0;
  for (; row + kRows <= num_rows; row += kRows) {
    MultiplyBlock<F, kRows, kVectors>(a + row * a_stride, a_stride, b, b_stride, sums + row * sums_stride, sums_stride,
                                      steps, accumulate, prefetcher);
  }
  for (; row + 4 <= num_rows; row += 4) {
    MultiplyBlock<F, 4, kVectors>(a + row * a_stride, a_stride, b, b_stride, sums + row * sums_stride, sums_stride, steps,
                                  accumulate, prefetcher);
  }
  for (; row + 2 <= num_rows; row += 2) {
    MultiplyBlock<F, 2, kVectors>(a + row * a_stride, a_stride, b, b_stride, sums + row * sums_stride, sums_stride, steps,
                                  accumulate, prefetcher);
  }
  if (row < num_rows) {
    MultiplyBlock<F, 1, kVectors>(a + row * a_stride, a_stride, b, b_stride, sums + row * sums_stride, sums_stride, steps,
                                  accumulate, prefetcher);
  }
}

template <class F>
void Multiply(const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride, float* sums, int64_t sums_stride,
              int num_rows, int steps, int columns, bool accumulate, PrefetchRows& next) {
  constexpr int kVectors = F::kVectors;
  constexpr int kLanes = F::Simd::kLanes;
  const int64_t blocks = (num_rows + F::kRows - 1) / F::kRows * ((columns + kVectors * kLanes - 1) / (kVectors * kLanes));
  Prefetcher prefetcher(next, blocks * steps);
  int column = 0;
  for (; column + kVectors * kLanes <= columns; column += kVectors * kLanes) {
    MultiplyColumns<F, kVectors>(a, a_stride, b + column, b_stride, sums + column, sums_stride, num_rows, steps,
                                 accumulate, prefetcher);
  }
  for (; column < columns; column += kLanes) {
    MultiplyColumns<F, 1>(a, a_stride, b + column, b_stride, sums + column, sums_stride, num_rows, steps, accumulate, prefetcher);
  }
}

template <class F>
void Softmax(float* scores, int visible, int padded, float* max, float* sum) {
  using Simd = typename F::Simd;
  using Vec = typename Simd::Vec;
  constexpr int kLanes = Simd::kLanes;
  Vec highest = Simd::Set1(-__builtin_inff());
  int slot = 0;
  for (; slot + kLanes <= visible; slot += kLanes) highest = Simd::Max(Simd::Load(scores + slot), highest);
  if (slot < visible) {
    highest = Simd::Max(Simd::FirstLanes(Simd::Load(scores + slot), visible - slot, highest), highest);
  }
  const float row_max = Simd::ReduceMax(highest);
  *max = row_max;
  *sum = F::Weigh(scores, visible, padded, row_max);
}

template <class F>
void Merge(float part_max, float part_sum, const float* part_out, int padded_dim, float* max, float* sum, float* out) {
  using Simd = typename F::Simd;
  using Vec = typename Simd::Vec;
  const float new_max = part_max > *max ? part_max : *max;
  const Vec keep = Simd::Exp2(Simd::Set1(*max - new_max));
  const Vec add = Simd::Exp2(Simd::Set1(part_max - new_max));
  for (int i = 0; i < padded_dim; i += Simd::kLanes) {
    Simd::Store(out + i, Simd::MulAdd(Simd::Load(part_out + i), add, Simd::Load(out + i) * keep));
  }
  float lanes[Simd::kLanes];
  Simd::Store(lanes, Simd::MulAdd(Simd::Set1(part_sum), add, Simd::Set1(*sum) * keep));
  *sum = lanes[0];
  *max = new_max;
}

template <class F>
TileKernels MakeTileKernels() {
  TileKernels kernels;
  kernels.slots_per_word = F::kSlotsPerWord;
  kernels.key_words = F::KeyWords;
  kernels.pack_query = F::PackQuery;
  kernels.pack_keys = F::PackKeys;
  kernels.multiply = Multiply<F>;
  kernels.softmax = Softmax<F>;
  kernels.merge = Merge<F>;
  kernels.add_values = F::AddValues;
  kernels.finish = F::Finish;
  return kernels;
}

// One float a word; a bfloat16 cache is widened while it is packed. Derived formats replace PackKeys by a vectorised one.
// Format is the derived format itself.
template <class Format, class SimdPolicy, bool kBF16>
struct FloatFormat {
  using Simd = SimdPolicy;
  using Vec = typename Simd::Vec;
  static constexpr int kSlotsPerWord = 1;

  static int KeyWords(int head_dim) { return head_dim; }

  static Vec Step(Vec sum, Vec a, Vec b) { return Simd::MulAdd(a, b, sum); }

  static float Weigh(float* scores, int visible, int padded, float max) {
    const Vec shift = Simd::Set1(max);
    Vec total = Simd::Zero();
    int slot = 0;
    for (; slot < visible; slot += Simd::kLanes) {
      Vec weight = Simd::Exp2(Simd::Load(scores + slot) - shift);
      if (slot + Simd::kLanes > visible) weight = Simd::FirstLanes(weight, visible - slot, Simd::Zero());
      Simd::Store(scores + slot, weight);
      total = total + weight;
    }
    for (; slot < padded; slot += Simd::kLanes) Simd::Store(scores + slot, Simd::Zero());
    return Simd::ReduceSum(total);
  }

  static void PackQuery(const float* query, int head_dim, float factor, uint32_t* words) {
    const Vec scale = Simd::Set1(factor);
    for (int i = 0; i < head_dim; i += Simd::kLanes) {
      const int n = head_dim - i;
      Vec v = (n >= Simd::kLanes ? Simd::Load(query + i) : Simd::LoadN(query + i, n)) * scale;
      if (kBF16) v = Simd::RoundBF16(v);
      if (n >= Simd::kLanes) {
        Simd::Store(reinterpret_cast<float*>(words) + i, v);
      } else {
        Simd::StoreN(reinterpret_cast<float*>(words) + i, v, n);
      }
    }
  }

  static void PackKeys(const uint8_t* const* rows, int64_t offset, int count, int head_dim, PrefetchRows& next,
                       uint32_t* keys) {
    constexpr int kBytes = kBF16 ? 2 : 4;
    Prefetcher prefetcher(next, count);
    for (int slot = 0; slot < count; ++slot) {
      prefetcher.Step();
      const uint8_t* row = rows[slot] + offset;
      for (int i = 0; i < head_dim; ++i) {
        uint32_t word = 0;
        __builtin_memcpy(&word, row + i * kBytes, kBytes);
        keys[i * kChunkSlots + slot] = kBF16 ? word << 16 : word;
      }
    }
  }

  static void AddValues(const uint32_t* weights, int64_t weights_stride, const uint8_t* const* rows, int64_t offset, int count,
                        int head_dim, int padded_dim, float* out, int num_rows, bool accumulate, PrefetchRows& next,
                        uint32_t* scratch) {
    for (int slot = 0; slot < count; ++slot) {
      float* packed = reinterpret_cast<float*>(scratch) + int64_t{slot} * padded_dim;
      for (int i = 0; i < padded_dim; i += Simd::kLanes) {
        const int n = head_dim - i;
        Vec v = Simd::Zero();
        if constexpr (kBF16) {
          if (n > 0) v = Simd::LoadBF16N(reinterpret_cast<const uint16_t*>(rows[slot] + offset) + i, n);
        } else {
          const float* row = reinterpret_cast<const float*>(rows[slot] + offset);
          if (n >= Simd::kLanes) {
            v = Simd::Load(row + i);
          } else if (n > 0) {
            v = Simd::LoadN(row + i, n);
          }
        }
        Simd::Store(packed + i, v);
      }
    }
    Multiply<Format>(weights, weights_stride, scratch, padded_dim, out, padded_dim, num_rows, count, padded_dim, accumulate, next);
  }

  static void Finish(const float* out, float sum, int head_dim, float* result) {
    const Vec divisor = Simd::Set1(sum);
    int i = 0;
    for (; i + Simd::kLanes <= head_dim; i += Simd::kLanes) Simd::Store(result + i, Simd::Load(out + i) / divisor);
    if (i < head_dim) Simd::StoreN(result + i, Simd::Load(out + i) / divisor, head_dim - i);
  }
};

}  // namespace
}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ATTENTION_SIMD_TILE_KERNELS_H_
