// Regroup on the CPU: memory-bound. The slots of one stored head are adjacent in a page, so a move is one run of
// count * head_dim elements for each stored head of the target, averaged from as many runs of the source as heads merge.
// Chains are spread over threads; what is regrouped in place is copied aside first, which stays in the first cache.
// Layer: kernels/cpu.
#include "kernels/regroup.h"

#include <algorithm>
#include <cstring>
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
  const int64_t d = layout.head_dim, count = move.count * d;
  const int64_t from_heads = layout.stored_heads(move.from_expert);
  const int64_t to_head = layout.slots_per_page[move.to_expert] * d;
  const int64_t members = layout.group_size[move.to_expert] / layout.group_size[move.from_expert];
  int64_t from_head = layout.slots_per_page[move.from_expert] * d;
  const Element* keys = reinterpret_cast<const Element*>(params.pool + move.from_page * layout.page_bytes) + move.from_slot * d;
  const Element* values = keys + layout.value_offset(move.from_expert);
  if (move.from_page == move.to_page) {
    scratch.resize(static_cast<size_t>(2 * from_heads * count) * sizeof(Element));
    Element* const aside = reinterpret_cast<Element*>(scratch.data());
    for (int64_t head = 0; head < from_heads; ++head) {
      std::memcpy(aside + head * count, keys + head * from_head, static_cast<size_t>(count) * sizeof(Element));
      std::memcpy(aside + (from_heads + head) * count, values + head * from_head, static_cast<size_t>(count) * sizeof(Element));
    }
    keys = aside;
    values = aside + from_heads * count;
    from_head = count;
  }
  Element* const to = reinterpret_cast<Element*>(params.pool + move.to_page * layout.page_bytes) + move.to_slot * d;
  for (int64_t head = 0; head < layout.stored_heads(move.to_expert); ++head) {
    const int64_t in = head * members * from_head, out = head * to_head;
    Average(kernels, keys + in, from_head, members, count, to + out);
    Average(kernels, values + in, from_head, members, count, to + layout.value_offset(move.to_expert) + out);
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
    static thread_local std::vector<uint8_t> scratch;  // a page's worth; keeps its memory
    const int32_t begin = params.chain_begin[chain], end = params.chain_begin[chain + 1];
    for (int32_t m = begin; m < std::min(begin + kPrefetchMoves, end); ++m) Prefetch(params, m);
    for (int32_t m = begin; m < end; ++m) {
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
