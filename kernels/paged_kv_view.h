// How cached keys and values lie in memory: uniform pages, each holding tokens of one (sequence, layer, expert).
// Layer: kernels (plain data). A view owns nothing; its pointers live as long as the engine step that made it.
//
// A page of expert e (group size g, S = slots_per_page[e], H' = num_kv_heads / g stored heads) is
//   [K: H', S, head_dim][V: H', S, head_dim]   elements of `dtype`, no padding between K and V;
// what is left of page_bytes behind V is unused. Stored head h' is the mean of the base model's heads h'*g .. h'*g+g-1.
// K is stored after RoPE. Query head q reads stored head (q * num_kv_heads / num_query_heads) / g.
#ifndef RATION_KERNELS_PAGED_KV_VIEW_H_
#define RATION_KERNELS_PAGED_KV_VIEW_H_

#include <cstdint>

#include "kernels/dtype.h"

namespace ration::kernels {

inline constexpr int kMaxExperts = 8;

// Geometry shared by every sequence and layer of a model.
struct KvLayout {
  DType dtype = DType::kF32;
  int32_t num_kv_heads = 0;  // H, of the base model
  int32_t head_dim = 0;      // d
  int32_t num_experts = 0;   // E, 1 .. kMaxExperts
  int32_t group_size[kMaxExperts] = {};      // g_e, ascending divisors of H, group_size[0] == 1
  int32_t slots_per_page[kMaxExperts] = {};  // page_bytes / bytes_per_token(e)
  int64_t page_bytes = 0;

  int32_t stored_heads(int e) const { return num_kv_heads / group_size[e]; }
  // Bytes of one token's K and V in one layer at expert e.
  int64_t bytes_per_token(int e) const { return 2 * int64_t{stored_heads(e)} * head_dim * SizeOf(dtype); }
  // Elements from a page's start to its V part.
  int64_t value_offset(int e) const { return int64_t{stored_heads(e)} * slots_per_page[e] * head_dim; }
};

// One expert's tokens of one sequence in one layer: slot s is in page pages[s / slots_per_page] at s % slots_per_page.
struct ExpertPages {
  const int32_t* pages = nullptr;  // page ids [ceil(num_slots / slots_per_page)]
  int32_t num_slots = 0;           // tokens stored
  // Only in a layer with a sliding window (nullptr and 0 elsewhere):
  const int32_t* positions = nullptr;  // [num_slots], each token's position in the sequence
  int32_t num_gone = 0;                // tokens stored before these, whose pages were freed as they left the window
};

// One sequence in one layer.
struct PagedKvView {
  ExpertPages experts[kMaxExperts];  // the first num_experts are valid
};

// Where one new token's K and V go.
struct KvSlot {
  int32_t page = 0;  // page id
  int32_t slot = 0;  // place within the page, < slots_per_page[expert]
  int32_t expert = 0;
};

}  // namespace ration::kernels

#endif  // RATION_KERNELS_PAGED_KV_VIEW_H_
