// The loops behind fused_attention.h, on plain arrays. One call does one sequence's one key/value head with all the
// query heads that read it. Layer: tools/train. Pure functions; thread-safe where the (sequence, head) pairs differ.
#ifndef RATION_TOOLS_TRAIN_FUSED_ATTENTION_KERNEL_H_
#define RATION_TOOLS_TRAIN_FUSED_ATTENTION_KERNEL_H_

#include <cstdint>

namespace ration {

struct AttentionShape {
  int64_t batch;
  int64_t length;
  int64_t query_heads;  // a multiple of kv_heads
  int64_t kv_heads;
  int64_t head_dim;  // 8, 16 or 32
};

bool AttentionHeadSizeSupported(int64_t head_dim);

// q, out: [batch, length, query_heads, head_dim]; k, v: [batch, length, kv_heads, head_dim]; logsumexp: [batch, length,
// query_heads]. Only the parts of `sequence` and `kv_head` are read and written.
void AttentionForward(const AttentionShape& shape, int64_t sequence, int64_t kv_head, const float* q, const float* k,
                      const float* v, float* out, float* logsumexp);

// Gradients of the same parts. out and logsumexp are the forward pass's.
void AttentionBackward(const AttentionShape& shape, int64_t sequence, int64_t kv_head, const float* q, const float* k,
                       const float* v, const float* out, const float* logsumexp, const float* d_out, float* dq,
                       float* dk, float* dv);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_FUSED_ATTENTION_KERNEL_H_
