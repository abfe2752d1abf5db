// Prepares a plain model for grouped K and V without changing what it computes. A key/value head's coordinates are
// arbitrary: V may be multiplied by any invertible matrix that the output projection undoes, each RoPE pair of K by any
// complex number that the query undoes, and heads may change places. This picks the coordinates and the order in which
// neighbouring heads are most alike on real activations, so that their means lose the least; training then starts much
// nearer to its end. Layer: tools/train. Pure function; thread-safe.
#ifndef RATION_TOOLS_TRAIN_HEAD_ALIGNMENT_H_
#define RATION_TOOLS_TRAIN_HEAD_ALIGNMENT_H_

#include <ATen/ATen.h>

#include "tools/train/llama_weights.h"

namespace ration {

// sequences: [n, T] int64, the text whose activations decide. Changes q, k, v and o projections (and biases of q, k and
// v) of every layer; logits stay equal up to rounding. Heads are paired, pairs are paired, and so on while their number
// is even. REQUIRES: weights without routers' gradients in use; head_dim even.
void AlignHeads(const at::Tensor& sequences, LlamaWeights& weights);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_HEAD_ALIGNMENT_H_
