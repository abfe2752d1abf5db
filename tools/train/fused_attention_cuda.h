// FusedAttention's passes for a CUDA device: one thread a query row (or, for the gradients of K and V, a key row), no
// shared memory, scores never stored. Heads are so small that a row's state fits a thread's registers. Only in trainers
// built by build_with_torch.sh. Layer: tools/train. Runs on the default stream, where LibTorch works unless told
// otherwise, and does not wait for it.
#ifndef RATION_TOOLS_TRAIN_FUSED_ATTENTION_CUDA_H_
#define RATION_TOOLS_TRAIN_FUSED_ATTENTION_CUDA_H_

#include "tools/train/fused_attention_kernel.h"

namespace ration {

// All pointers are to float32 on the device. q, out and their gradients: [B, T, H_q, d]; k, v and theirs: [B, T, H, d];
// logsumexp, delta (scratch): [B, T, H_q]. REQUIRES: AttentionHeadSizeSupported(d).
void CudaAttentionForward(const AttentionShape& shape, const float* q, const float* k, const float* v, float* out,
                          float* logsumexp);
void CudaAttentionBackward(const AttentionShape& shape, const float* q, const float* k, const float* v,
                           const float* out, const float* logsumexp, const float* d_out, float* delta, float* dq,
                           float* dk, float* dv);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_FUSED_ATTENTION_CUDA_H_
