// Causal attention for training: forward and backward passes that never write the [T, T] scores to memory, vectorised
// over keys, with the processor's widest vectors chosen at run time. For the small heads of small models it is many
// times faster than attention built of matrix products, and as exact. Layer: tools/train. Pure function; thread-safe.
#ifndef RATION_TOOLS_TRAIN_FUSED_ATTENTION_H_
#define RATION_TOOLS_TRAIN_FUSED_ATTENTION_H_

#include <ATen/ATen.h>

namespace ration {

// q: [B, T, H_q, d], k and v: [B, T, H, d], float32. Returns [B, T, H_q, d]; differentiable in all three.
// On the CPU, and on a CUDA device in a trainer built for one; elsewhere, and with a head size other than 8, 16 or 32,
// this is PlainAttention.
at::Tensor FusedAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_FUSED_ATTENTION_H_
