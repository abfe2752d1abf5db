// The forward pass over whole sequences, without cache or pages: an independent statement of what the engine must
// compute, differentiable, and written for reading. The trainer swaps in a faster attention (fused_attention.h); the
// oracle does not. Layer: tools/train. Pure functions; thread-safe.
#ifndef RATION_TOOLS_TRAIN_LLAMA_FORWARD_H_
#define RATION_TOOLS_TRAIN_LLAMA_FORWARD_H_

#include <functional>
#include <vector>

#include <ATen/ATen.h>

#include "engine/router/expert_spec.h"
#include "tools/train/llama_weights.h"

namespace ration {

// Router scores S of one layer [B, T, E] (float32, contiguous) to the expert of each token [B, T] (int64).
using RouteFunction = std::function<at::Tensor(int layer, const at::Tensor& scores)>;

// q: [B, T, H_q, d], k and v: [B, T, H, d] to the output [B, T, H_q, d]; causal, softmax over q·k / sqrt(d).
using AttentionFunction = std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v)>;

// What a layer's router did.
struct LayerRouting {
  at::Tensor logits;   // [B, T, E], before the sigmoid
  at::Tensor scores;   // [B, T, E]
  at::Tensor experts;  // [B, T], int64
};

// How the gradient of K and V reaches the router. The forward pass is the same in all: the hard one-hot assignment.
enum class StraightThrough {
  kNone,
  kChosen,  // K and V are scaled by a gate that is one, with the gradient of the chosen expert's score
  kAll,     // every expert's means stand with the gradient of its score: what the loss would gain by another choice
};

struct ForwardOptions {
  RouteFunction route;          // empty: every token keeps all its heads, and routers are not evaluated
  AttentionFunction attention;  // empty: PlainAttention
  StraightThrough straight_through = StraightThrough::kNone;
  std::vector<LayerRouting>* routing = nullptr;         // out, one a layer, if a route function is given
  std::vector<at::Tensor>* attention_inputs = nullptr;  // out, one a layer: x after the input norm [B, T, D]
};

// tokens: [B, T] int64. Returns logits [B, T, V].
at::Tensor LlamaForward(const LlamaWeights& weights, const at::Tensor& tokens, const ForwardOptions& options);

// Attention as the textbook writes it, over materialised scores.
at::Tensor PlainAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Replaces each token's heads [B, T, H, d] by the means over runs of its expert's group size, repeated to H heads
// again. gates: [B, T, E], one at the token's expert and zero elsewhere (a sum weighted by them is taken).
at::Tensor GroupHeads(const at::Tensor& heads, const at::Tensor& gates, const ExpertSpec& spec);

// Rotation angles [T, d / 2] (float32) for positions 0..T-1.
at::Tensor RopeAngles(const ModelConfig& config, int64_t num_positions);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_LLAMA_FORWARD_H_
