// What mixSGA adds to a model's attention, whatever the family: each token is routed to an expert, and its K and V
// become the means over that expert's runs of heads. Also the options that all forward passes take. Layer: tools/train.
// Pure functions, differentiable; thread-safe.
#ifndef RATION_TOOLS_TRAIN_ROUTED_ATTENTION_H_
#define RATION_TOOLS_TRAIN_ROUTED_ATTENTION_H_

#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "engine/router/expert_spec.h"

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

// The values between the layers, to find where two implementations part.
struct ForwardTrace {
  at::Tensor embed;                // [B, T, D], the first layer's input
  std::vector<at::Tensor> layers;  // [B, T, D], each layer's output
  at::Tensor final;                // [B, T, D or the embeddings' size], the head's input
};

struct ForwardOptions {
  RouteFunction route;          // empty: every token keeps all its heads, and routers are not evaluated
  AttentionFunction attention;  // Llama only; empty: PlainAttention
  StraightThrough straight_through = StraightThrough::kNone;
  std::vector<LayerRouting>* routing = nullptr;         // out, one a layer, if a route function is given
  std::vector<at::Tensor>* attention_inputs = nullptr;  // out, one a layer: what q, k, v are projected from [B, T, D]
  ForwardTrace* trace = nullptr;                        // out
};

// Empties what the options' out-parameters hold from an earlier pass.
void ClearOutputs(const ForwardOptions& options);

// One layer's router, as a checkpoint holds it. Undefined tensors: a plain checkpoint.
struct RouterWeights {
  at::Tensor weight;       // [E, D]
  at::Tensor bias;         // [E]
  at::Tensor calibration;  // [num_samples, E] or absent; never trained
};

// Records x [B, T, D], what k and v [B, T, H, d] were projected from, and, where there are a route function and a
// router, routes the tokens and replaces k and v by their experts' means.
void RouteAndGroup(int layer, const at::Tensor& x, const RouterWeights& router, const ExpertSpec& spec,
                   const ForwardOptions& options, at::Tensor& k, at::Tensor& v);

// Replaces each token's heads [B, T, H, d] by the means over runs of its expert's group size, repeated to H heads
// again. gates: [B, T, E], one at the token's expert and zero elsewhere (a sum weighted by them is taken).
at::Tensor GroupHeads(const at::Tensor& heads, const at::Tensor& gates, const ExpertSpec& spec);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ROUTED_ATTENTION_H_
