// Regroup: moves cached tokens to a cheaper expert by averaging neighbouring stored heads, in place, with no spare page. The mean of
// two group-g means is the group-2g mean, so the result equals (up to rounding) what routing the token there at first would have
// stored. Source of the method: mixSGA (EMNLP 2025), grouped keys and values; see docs/kv_cache.md.
// Layer: kernels. Knows pages and slots only; page tables and counts are the KvCacheManager's.
#ifndef RATION_KERNELS_REGROUP_H_
#define RATION_KERNELS_REGROUP_H_

#include <cstdint>

#include "kernels/paged_kv_view.h"

namespace ration::kernels {

// Moves the tokens in `count` adjacent slots. from_page may equal to_page: then it behaves as if everything were read before
// anything is written, and what the page held in the old layout is gone, but for the slots moved.
// REQUIRES: from_expert < to_expert; from_slot + count <= slots_per_page[from_expert]; the same for `to`.
struct RegroupMove {
  int32_t from_page = 0;
  int32_t to_page = 0;
  int32_t from_slot = 0;
  int32_t to_slot = 0;
  int32_t count = 0;  // >= 1
  int16_t from_expert = 0;
  int16_t to_expert = 0;
};

struct RegroupParams {
  KvLayout layout;
  uint8_t* pool = nullptr;            // page p starts at pool + p * layout.page_bytes
  const RegroupMove* moves = nullptr; // chain c is moves[chain_begin[c]] .. moves[chain_begin[c + 1] - 1]
  // Moves of one chain happen in order: a page may be the target of several, and its own tokens may have moved before. Different
  // chains touch different pages and may run side by side.
  const int32_t* chain_begin = nullptr;  // [num_chains + 1], ascending
  int32_t num_chains = 0;                // >= 0
};

namespace reference {
// Double-precision mean of the stored values, rounded once to the cache's dtype.
void Regroup(const RegroupParams& params);
}  // namespace reference

namespace cpu {
class ThreadPool;
// The mean is taken in float32 (one rounding to the cache's dtype, as the reference).
void Regroup(const RegroupParams& params, ThreadPool& pool);
}  // namespace cpu

}  // namespace ration::kernels

#endif  // RATION_KERNELS_REGROUP_H_
