// Regroup on the CPU: memory-bound. The slots of one stored head are adjacent in a page, so a move is one run of
// count * head_dim elements for each stored head of the target, averaged from as many runs of the source as heads merge.
// Chains are spread over threads; a page that is regrouped in place is copied aside first, which stays in the first cache.
// Layer: kernels/cpu.
#include "kernels/regroup.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/elementwise/row_kernels.h"
#include "kernels/cpu/thread_pool.h"

namespace ration::kernels::cpu {
namespace {

// Pages are scattered: what the next moves read is asked for ahead.
constexpr int32_t kPrefetchMoves = 2;
constexpr int64_t kCacheLine = 64;

template <typename Element>
void Average(const RowKernels& kernels, const Element* in, int64_t stride, int64_t members, int64_t count, Element* out) {
  if constexpr (sizeof(Element) == 4) {
    kernels.mean_f32(in, stride, members, count, out);
  } else {
    kernels.mean_bf16(in, stride, members, count, out);
  }
}

template <typename Element>
void Apply(const RegroupParams& params, const RegroupMove& move, const RowKernels& kernels,
           std::vector<uint8_t>& scratch) {
  const KvLayout& layout = params.layout;
  const uint8_t* from_page = params.pool + move.from_page * layout.page_bytes;
  if (move.from_page == move.to_page) {
    scratch.assign(from_page, from_page + layout.page_bytes);
    from_page = scratch.data();
  }
  const Element* const from = reinterpret_cast<const Element*>(from_page);
  Element* const to = reinterpret_cast<Element*>(params.pool + move.to_page * layout.page_bytes);
  const int64_t d = layout.head_dim, count = move.count * d;
  const int64_t from_head = layout.slots_per_page[move.from_expert] * d, to_head = layout.slots_per_page[move.to_expert] * d;
  const int64_t members = layout.group_size[move.to_expert] / layout.group_size[move.from_expert];
  for (int64_t head = 0; head < layout.stored_heads(move.to_expert); ++head) {
    const int64_t in = head * members * from_head + move.from_slot * d, out = head * to_head + move.to_slot * d;
    Average(kernels, from + in, from_head, members, count, to + out);
    Average(kernels, from + layout.value_offset(move.from_expert) + in, from_head, members, count,
            to + layout.value_offset(move.to_expert) + out);
  }
}

void Prefetch(const RegroupParams& params, int32_t move) {
  const uint8_t* page = params.pool + params.moves[move].from_page * params.layout.page_bytes;
  for (int64_t byte = 0; byte < params.layout.page_bytes; byte += kCacheLine) __builtin_prefetch(page + byte, 0, 2);
}

}  // namespace

void Regroup(const RegroupParams& params, ThreadPool& pool) {
  const RowKernels& kernels = ActiveRowKernels();
  pool.ParallelFor(params.num_chains, [&](int64_t chain, int) {
    std::vector<uint8_t> scratch;
    const int32_t end = params.chain_begin[chain + 1];
    for (int32_t m = params.chain_begin[chain]; m < end; ++m) {
      if (m + kPrefetchMoves < end) Prefetch(params, m + kPrefetchMoves);
      if (params.layout.dtype == DType::kF32) {
        Apply<float>(params, params.moves[m], kernels, scratch);
      } else {
        Apply<uint16_t>(params, params.moves[m], kernels, scratch);
      }
    }
  });
}

}  // namespace ration::kernels::cpu
