// See the header.
#include "kernels/cpu/attention/plan.h"

#include <algorithm>
#include <numeric>

namespace ration::kernels::cpu {
namespace {

// Rows (queries x heads) of a prefill block: their scores, kPartSlots floats each, stay in the second-level cache.
constexpr int32_t kBlockRows = 256;

// A piece must be worth its hand-out (about a microsecond).
constexpr int64_t kMinPieceCost = 8'000;
// Pieces a thread, so that the last to finish is not late by much.
constexpr int64_t kPiecesPerThread = 4;

// Query heads that no expert's stored head divides: the smallest range of heads that can be computed alone.
int32_t HeadUnit(const AttentionParams& params) {
  int32_t group = 1;
  for (int e = 0; e < params.layout.num_experts; ++e) group = std::lcm(group, params.layout.group_size[e]);
  return params.num_query_heads / params.layout.num_kv_heads * group;
}

// Nanoseconds, roughly: reading the slots at 10 GB/s, and 2 * head_dim products for each row and slot at 50 a nanosecond.
int64_t SlotCost(const AttentionParams& params, int e, int64_t heads, int64_t queries) {
  const int64_t stored = std::max<int64_t>(1, heads / HeadsPerStoredHead(params, e));
  const int64_t bytes = 2 * stored * params.layout.head_dim * SizeOf(params.layout.dtype);
  return bytes / 10 + heads * queries * 2 * params.layout.head_dim / 50 + 1;
}

class Planner {
 public:
  Planner(const AttentionParams& params, int num_threads, AttentionPlan* plan)
      : params_(params), num_threads_(num_threads), unit_(HeadUnit(params)), plan_(plan) {}

  void Make() {
    plan_->Clear();
    // Blocks first: whole sequences in decode; in prefill some queries and heads, which share the cost of packing a chunk.
    for (int32_t s = 0; s < params_.num_sequences; ++s) {
      const int32_t num_queries = params_.sequences[s].num_queries;
      const int32_t heads = num_queries == 1 ? params_.num_query_heads : unit_;
      const int32_t queries = std::max<int32_t>(1, kBlockRows / heads);
      for (int32_t q = 0; q < num_queries; q += queries) {
        for (int32_t h = 0; h < params_.num_query_heads; h += heads) {
          AddBlock(s, q, std::min(queries, num_queries - q), h, heads);
        }
      }
    }
    if (num_threads_ > 1) {
      const int64_t target = std::max(kMinPieceCost, plan_->cost / (num_threads_ * kPiecesPerThread));
      const size_t num_blocks = plan_->items.size();
      for (size_t i = 0; i < num_blocks; ++i) {
        if (plan_->items[i].cost > target + target / 2) Split(i, target);
      }
      std::stable_sort(plan_->items.begin(), plan_->items.end(),
                       [](const WorkItem& a, const WorkItem& b) { return a.cost > b.cost; });
    }
  }

 private:
  void AddBlock(int32_t s, int32_t q, int32_t num_queries, int32_t head, int32_t num_heads) {
    WorkItem item;
    item.sequence = s;
    item.query_begin = q;
    item.num_queries = num_queries;
    item.head_begin = head;
    item.num_heads = num_heads;
    for (int e = 0; e < params_.layout.num_experts; ++e) {
      const int32_t slots = VisibleSlots(params_.layout, params_.sequences[s], q + num_queries - 1, e);
      item.part_end += NumParts(params_.sequences[s].kv.experts[e], slots);
      item.cost += slots * SlotCost(params_, e, num_heads, num_queries);
    }
    plan_->cost += item.cost;
    plan_->items.push_back(item);
  }

  // Cuts block i by heads where it has few parts, then by parts. New pieces go to the end, the first takes the block's place.
  void Split(size_t i, int64_t target) {
    const WorkItem block = plan_->items[i];
    const int64_t wanted = block.cost / target + 1;
    const int64_t units = block.num_heads / unit_;
    const int64_t head_pieces = std::min(units, (wanted + block.part_end - 1) / std::max<int64_t>(1, block.part_end));
    bool first = true;
    for (int64_t piece = 0; piece < head_pieces; ++piece) {
      WorkItem item = block;
      const int64_t begin = units * piece / head_pieces;
      item.head_begin = block.head_begin + static_cast<int32_t>(begin) * unit_;
      item.num_heads = static_cast<int32_t>(units * (piece + 1) / head_pieces - begin) * unit_;
      item.cost = block.cost * item.num_heads / block.num_heads;
      SplitParts(item, target, &first, i);
    }
  }

  void SplitParts(const WorkItem& block, int64_t target, bool* first, size_t place) {
    const auto emit = [&](const WorkItem& item) {
      if (*first) {
        plan_->items[place] = item;
      } else {
        plan_->items.push_back(item);
      }
      *first = false;
    };
    if (block.cost <= target + target / 2 || block.part_end < 2) {
      emit(block);
      return;
    }
    WorkItem item = block;
    item.partial_begin = plan_->num_partials;
    plan_->num_partials += int64_t{block.part_end} * block.num_heads * block.num_queries;
    WorkItem merge = item;
    merge.cost = 0;
    plan_->merges.push_back(merge);
    item.cost = 0;
    for (int32_t index = 0; index < block.part_end; ++index) {
      const AttentionSequence& sequence = params_.sequences[block.sequence];
      const Part part = GetPart(params_.layout, sequence, block.query_begin + block.num_queries - 1, index);
      item.cost += part.num_slots * SlotCost(params_, part.expert, block.num_heads, block.num_queries);
      item.part_end = index + 1;
      if (item.cost >= target || index + 1 == block.part_end) {
        emit(item);
        item.part_begin = index + 1;
        item.cost = 0;
      }
    }
  }

  const AttentionParams& params_;
  const int64_t num_threads_;
  const int32_t unit_;
  AttentionPlan* plan_;
};

}  // namespace

void AttentionPlan::Clear() {
  items.clear();
  merges.clear();
  num_partials = 0;
  cost = 0;
}

Part GetPart(const KvLayout& layout, const AttentionSequence& sequence, int32_t last_query, int32_t index) {
  Part part;
  for (int e = 0; e < layout.num_experts; ++e) {
    const int32_t slots = VisibleSlots(layout, sequence, last_query, e);
    const ExpertPages& pages = sequence.kv.experts[e];
    const int32_t parts = NumParts(pages, slots);
    if (index < parts) {
      part.expert = e;
      part.slot_begin = (pages.num_gone / kPartSlots + index) * kPartSlots - pages.num_gone;
      part.num_slots = std::min(kPartSlots, slots - part.slot_begin);
      return part;
    }
    index -= parts;
  }
  return part;
}

void MakeAttentionPlan(const AttentionParams& params, int num_threads, AttentionPlan* plan) {
  Planner(params, num_threads, plan).Make();
}

}  // namespace ration::kernels::cpu
