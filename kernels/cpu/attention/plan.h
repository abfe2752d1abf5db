// Cuts one attention call into pieces of work for the threads. Pure; decides who computes what, never how: a piece's result
// does not depend on where the cuts are.
// Layer: kernels/cpu/attention (private). Thread-compatible.
//
// The slots a block of queries sees are cut into *parts*: kPartSlots consecutive slots of one expert, counted from the
// first that the expert ever had, so that tokens which left a sliding window do not move the cuts. Each part gives a partial result (max, sum, out), and these are merged one by one in order of expert and
// slot. So the arithmetic of a row depends on its own slots alone, however the parts are spread over items and threads.
#ifndef RATION_KERNELS_CPU_ATTENTION_PLAN_H_
#define RATION_KERNELS_CPU_ATTENTION_PLAN_H_

#include <cstdint>
#include <vector>

#include "kernels/attention.h"

namespace ration::kernels::cpu {

// Long enough that merging (a row of head_dim floats a part) is cheap against reading 256 slots, short enough that one long
// sequence gives every core some.
inline constexpr int kPartSlots = 256;

// Consecutive parts of consecutive query heads of consecutive queries of one sequence. Rows of an item are numbered
// [num_heads, num_queries].
struct WorkItem {
  int32_t sequence = 0;
  int32_t query_begin = 0;  // within the sequence
  int32_t num_queries = 0;
  int32_t head_begin = 0;
  int32_t num_heads = 0;
  int32_t part_begin = 0;
  int32_t part_end = 0;
  int64_t partial_begin = -1;  // first partial result, [part, num_heads, num_queries] from part 0; -1: the item has all parts
  int64_t cost = 0;            // nanoseconds, roughly
};

struct AttentionPlan {
  std::vector<WorkItem> items;   // the costliest first
  std::vector<WorkItem> merges;  // one for each block whose parts are spread over items: all its parts
  int64_t num_partials = 0;
  int64_t cost = 0;

  void Clear();
};

// One part: slots [slot_begin, slot_begin + num_slots) of an expert. A negative slot_begin counts places of tokens that are gone.
struct Part {
  int expert = 0;
  int32_t slot_begin = 0;
  int32_t num_slots = 0;
};

// Parts that the first `slots` slots of an expert are cut into.
inline int32_t NumParts(const ExpertPages& pages, int32_t slots) {
  return slots == 0 ? 0 : (pages.num_gone + slots + kPartSlots - 1) / kPartSlots - pages.num_gone / kPartSlots;
}

// Slots of expert e that query `i` of the sequence sees.
inline int32_t VisibleSlots(const KvLayout& layout, const AttentionSequence& sequence, int32_t i, int e) {
  return sequence.visible != nullptr ? sequence.visible[int64_t{i} * layout.num_experts + e]
                                     : sequence.kv.experts[e].num_slots;
}

// Part `index` of what query `last_query` sees. REQUIRES: there is such a part.
Part GetPart(const KvLayout& layout, const AttentionSequence& sequence, int32_t last_query, int32_t index);

// Query heads that share a stored head of expert e.
inline int32_t HeadsPerStoredHead(const AttentionParams& params, int e) {
  return params.num_query_heads / params.layout.num_kv_heads * params.layout.group_size[e];
}

void MakeAttentionPlan(const AttentionParams& params, int num_threads, AttentionPlan* plan);

}  // namespace ration::kernels::cpu

#endif  // RATION_KERNELS_CPU_ATTENTION_PLAN_H_
