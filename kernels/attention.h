// Attention over mixed pages: per expert ordinary paged GQA attention, then an exact merge of the experts' partial results
// by their log-sum-exps (softmax does not care about the order of the cached tokens; FlashDecoding's split-KV reduction).
// One call serves a whole step: decode rows and prefill windows of many sequences.
// Layer: kernels. Reads what the cache stores, also for the tokens of the step itself, which must be appended before.
#ifndef RATION_KERNELS_ATTENTION_H_
#define RATION_KERNELS_ATTENTION_H_

#include <cstdint>

#include "kernels/paged_kv_view.h"

namespace ration::kernels {

// The query rows of one sequence.
struct AttentionSequence {
  PagedKvView kv;
  int32_t query_begin = 0;  // first row in AttentionParams::query and out
  int32_t num_queries = 0;  // >= 1; 1 in decode, a chunk of the prompt in prefill
  // Causality: query row i sees the first visible[i * num_experts + e] slots of expert e. The tokens of the step are each
  // expert's last slots in ascending position, so a prefix length says all. nullptr: every row sees every slot.
  // REQUIRES: at least one slot visible to each row; visible counts do not decrease with i.
  const int32_t* visible = nullptr;  // [num_queries, num_experts]
  // Position of query row 0; row i is at first_position + i. Read only with a window.
  int32_t first_position = 0;
};

struct AttentionParams {
  KvLayout layout;
  const uint8_t* pool = nullptr;  // page p starts at pool + p * layout.page_bytes
  int32_t num_query_heads = 0;    // H_q, a multiple of num_kv_heads
  float scale = 0;                // usually 1 / sqrt(head_dim)
  // > 0: a score s becomes soft_cap * tanh(s / soft_cap) before the softmax (Gemma-2); 0: it stays.
  float soft_cap = 0;
  // > 0: a query at position p sees only keys at positions above p - window (sliding-window attention), as ExpertPages::positions says;
  // 0: it sees all.
  int32_t window = 0;
  const float* query = nullptr;   // [rows, num_query_heads, head_dim], after RoPE
  int64_t query_stride = 0;       // floats from row to row
  float* out = nullptr;           // [rows, num_query_heads, head_dim]
  int64_t out_stride = 0;         // floats from row to row
  const AttentionSequence* sequences = nullptr;  // [num_sequences]
  int32_t num_sequences = 0;      // >= 0
};

namespace reference {
// Double precision, plain loops, softmax over all visible tokens at once.
void PagedAttention(const AttentionParams& params);
}  // namespace reference

namespace cpu {
class ThreadPool;
// Chooses AVX-512 BF16, AVX-512, AVX2 or portable code at run time. With a bfloat16 cache, queries and softmax weights may
// be rounded to bfloat16 before they meet the cache; sums are float32. Thread-safe for different `out` rows.
void PagedAttention(const AttentionParams& params, ThreadPool& pool);
}  // namespace cpu

}  // namespace ration::kernels

#endif  // RATION_KERNELS_ATTENTION_H_
