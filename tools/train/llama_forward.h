// Llama's forward pass over whole sequences, without cache or pages: an independent statement of what the engine must
// compute, differentiable, and written for reading. The trainer swaps in a faster attention (fused_attention.h); the
// oracle does not. Layer: tools/train. Pure function; thread-safe.
#ifndef RATION_TOOLS_TRAIN_LLAMA_FORWARD_H_
#define RATION_TOOLS_TRAIN_LLAMA_FORWARD_H_

#include <ATen/ATen.h>

#include "tools/train/llama_weights.h"
#include "tools/train/routed_attention.h"

namespace ration {

// tokens: [B, T] int64. Returns logits [B, T, V].
at::Tensor LlamaForward(const LlamaWeights& weights, const at::Tensor& tokens, const ForwardOptions& options);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_LLAMA_FORWARD_H_
