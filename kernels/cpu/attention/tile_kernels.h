// The vectorised pieces of attention, one table for each instruction set and cache dtype. The driver (../attention.cc) cuts the
// work into tiles and calls them; it knows nothing about vectors.
// Layer: kernels/cpu/attention (private). Pure functions on caller-owned memory.
//
// Everything is a small matrix product on 32-bit words: a word is a float, or (with the bfloat16 dot product) a pair of
// bfloat16 values that are multiplied and added at once. Keys are packed so that a vector holds the same word of many slots;
// a vector of values holds many components of one slot (or pair of slots).
//
// Batch invariance: each score, weight and output component is one chain of operations in ascending order of head component
// or slot, whatever tile it is computed in. Slots that a row must not see get weight 0, which leaves a sum as it is.
#ifndef RATION_KERNELS_CPU_ATTENTION_TILE_KERNELS_H_
#define RATION_KERNELS_CPU_ATTENTION_TILE_KERNELS_H_

#include <cstdint>

#include "kernels/cpu/cpu_level.h"
#include "kernels/dtype.h"

namespace ration::kernels::cpu {

// Slots of one packed chunk: 64 slots of 64 words are 16 KiB, half of an L1 cache.
inline constexpr int kChunkSlots = 64;
// Vectors are at most this many floats: slots of a part are read and written in multiples of it.
inline constexpr int kMaxLanes = 16;
// Rows of outputs are padded to a multiple of this: a vector of bfloat16.
inline constexpr int kDimPadding = 32;

// Keys or values of the next chunk. They are fetched into the cache a few rows at a time while this chunk is computed: all at
// once they would only queue up behind each other (a core has about 24 misses outstanding). The order is that of the addresses,
// page by page, all stored heads of a page before the next page.
struct PrefetchRows {
  const uint8_t* const* rows = nullptr;  // [num_rows], of stored head 0
  int num_rows = 0;
  int page_rows = 0;       // rows of a page
  int64_t row_bytes = 0;
  int64_t head_bytes = 0;  // from a stored head to the next
  int64_t head_begin = 0;  // offsets of the first stored head, and behind the last
  int64_t head_end = 0;
  // The next row: rows[row] + offset, in the page that has [page_begin, page_end).
  int64_t offset = 0;
  int row = 0;
  int page_begin = 0;
  int page_end = 0;
  int budget = 0;  // rows left to be fetched by the function that this is passed to

  // REQUIRES: budget > 0.
  void FetchRow() {
    const uint8_t* begin = rows[row] + offset;
    for (int64_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(begin + line, 0, 2);
    --budget;
    if (++row < page_end) return;
    offset += head_bytes;
    if (offset >= head_end) {
      offset = head_begin;
      page_begin = page_end;
      page_end = page_end + page_rows < num_rows ? page_end + page_rows : num_rows;
    }
    row = page_begin;
  }
};

struct TileKernels {
  int slots_per_word = 1;  // 2 with bfloat16 pairs, else 1

  // Words of one packed query or key of head_dim components.
  int (*key_words)(int head_dim);

  // words[key_words] = query * factor.
  void (*pack_query)(const float* query, int head_dim, float factor, uint32_t* words);

  // keys[key_words][kChunkSlots] from the rows at rows[i] + offset_bytes, i < count rounded up to kMaxLanes. Fetches
  // next.budget rows.
  void (*pack_keys)(const uint8_t* const* rows, int64_t offset_bytes, int count, int head_dim, PrefetchRows& next,
                    uint32_t* keys);

  // sums[num_rows][columns] (+)= a[num_rows][steps] x b[steps][columns]; columns is a multiple of kMaxLanes. The words of a
  // row of `a` are those of pack_query, b comes from pack_keys. Strides in words. Fetches next.budget rows.
  void (*multiply)(const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t b_stride, float* sums,
                   int64_t sums_stride, int num_rows, int steps, int columns, bool accumulate,
                   PrefetchRows& next);

  // True where `score` takes the place of pack_keys and multiply, as few rows do not pay for packing: decided by the rows of one
  // query, so that results do not depend on how many queries are computed together. nullptr: nowhere.
  bool (*scores_directly)(int rows_per_query, int head_dim) = nullptr;

  // scores[num_rows][count rounded up to kMaxLanes] = query[num_rows] x keys[count], where the words of the query are those of
  // pack_query and the keys are as in pack_keys. Strides in words. Fetches next.budget rows. nullptr with scores_directly.
  void (*score)(const uint32_t* query, int64_t query_stride, const uint8_t* const* rows, int64_t offset_bytes, int count,
                int head_dim, float* scores, int64_t scores_stride, int num_rows, PrefetchRows& next) = nullptr;

  // Replaces the row's scores (base-2 logits) by packed weights 2^(score - max), zero from `visible` up to `padded` slots
  // (a multiple of kMaxLanes). Returns the largest of the first `visible` >= 1 scores and the sum of the weights as packed.
  void (*softmax)(float* scores, int visible, int padded, float* max, float* sum);

  // out[num_rows][padded_dim] (+)= weights[num_rows] x values[count][head_dim], where the values are the rows at rows[i] +
  // offset_bytes (as in pack_keys) and the words of a row of weights are those of softmax. The order of components in `out` is
  // the implementation's own, until finish. `scratch` has room for kChunkSlots * padded_dim words. Fetches next.budget rows.
  void (*add_values)(const uint32_t* weights, int64_t weights_stride, const uint8_t* const* rows, int64_t offset_bytes, int count,
                     int head_dim, int padded_dim, float* out, int num_rows, bool accumulate, PrefetchRows& next,
                     uint32_t* scratch);

  // Merges a partial result into (max, sum, out): the exact reduction by log-sum-exp. padded_dim is a multiple of kDimPadding.
  void (*merge)(float part_max, float part_sum, const float* part_out, int padded_dim, float* max, float* sum, float* out);

  // result[head_dim] = out / sum, in the natural order of components.
  void (*finish)(const float* out, float sum, int head_dim, float* result);
};

// Tables of the levels; nullptr where the compiler has no such instruction set.
const TileKernels* PortableTileKernels(DType dtype);
const TileKernels* Avx2TileKernels(DType dtype);
const TileKernels* Avx512TileKernels(DType dtype);
const TileKernels* Avx512BF16TileKernels();

// The best table for the active level.
const TileKernels& ActiveTileKernels(DType dtype);

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ATTENTION_TILE_KERNELS_H_
