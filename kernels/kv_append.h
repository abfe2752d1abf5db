// Grouped append: averages each run of group_size adjacent heads of new keys and values and stores them in their slots.
// Source of the method: mixSGA (EMNLP 2025), grouped key/value projections; see docs/routing.md.
// Layer: kernels. Every implementation writes exactly the slots named, nothing else in a page.
#ifndef RATION_KERNELS_KV_APPEND_H_
#define RATION_KERNELS_KV_APPEND_H_

#include <cstdint>

#include "kernels/paged_kv_view.h"

namespace ration::kernels {

struct KvAppendParams {
  KvLayout layout;
  uint8_t* pool = nullptr;         // page p starts at pool + p * layout.page_bytes
  const float* key = nullptr;      // [num_tokens, num_kv_heads, head_dim], after RoPE
  const float* value = nullptr;    // [num_tokens, num_kv_heads, head_dim]
  int64_t row_stride = 0;          // floats from one token's key (value) to the next; >= num_kv_heads * head_dim
  const KvSlot* slots = nullptr;   // [num_tokens], all different
  int32_t num_tokens = 0;          // >= 0
};

namespace reference {
// Double-precision mean, rounded once to the cache's dtype.
void KvAppend(const KvAppendParams& params);
}  // namespace reference

namespace cpu {
class ThreadPool;
// The mean is taken in float32, which may differ from the reference by 1 ulp of float32 before the final rounding.
void KvAppend(const KvAppendParams& params, ThreadPool& pool);
}  // namespace cpu

}  // namespace ration::kernels

#endif  // RATION_KERNELS_KV_APPEND_H_
