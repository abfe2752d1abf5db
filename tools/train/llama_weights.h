// The weights of a Llama-architecture model, with or without routers, as float32 LibTorch tensors that autograd may
// follow. No maths here; see llama_forward.h. Layer: tools/train. Value types (tensors are shared handles);
// thread-compatible.
#ifndef RATION_TOOLS_TRAIN_LLAMA_WEIGHTS_H_
#define RATION_TOOLS_TRAIN_LLAMA_WEIGHTS_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/model_config.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/tensor_source.h"
#include "tools/train/rope.h"

namespace ration {

// D hidden, F intermediate, H_q query heads, H key/value heads, d head size, E experts. An undefined tensor is absent.
struct LlamaLayerWeights {
  at::Tensor input_norm;              // [D]
  at::Tensor q_proj, k_proj, v_proj;  // [H_q * d, D], [H * d, D], [H * d, D]
  at::Tensor q_bias, k_bias, v_bias;  // as the outputs, or absent
  at::Tensor o_proj, o_bias;          // [D, H_q * d], [D] or absent
  at::Tensor post_norm;               // [D]
  at::Tensor gate_proj, up_proj;      // [F, D]
  at::Tensor gate_bias, up_bias;      // [F] or absent
  at::Tensor down_proj, down_bias;    // [D, F], [D] or absent
  at::Tensor router_weight;           // [E, D] or absent
  at::Tensor router_bias;             // [E] or absent
  at::Tensor router_calibration;      // [num_samples, E] or absent; never trained
};

struct LlamaWeights {
  ModelConfig config;
  RopeRule rope;          // what config says of RoPE
  at::Tensor embed;       // [V, D]
  at::Tensor final_norm;  // [D]
  at::Tensor lm_head;     // [V, D], absent if tied
  std::vector<LlamaLayerWeights> layers;

  bool has_routers() const { return !layers.empty() && layers[0].router_weight.defined(); }

  // Every tensor present with the name Hugging Face gives it, in a fixed order. Calibration tables are included.
  std::vector<std::pair<std::string, at::Tensor*>> Named();
  std::vector<std::pair<std::string, at::Tensor>> Named() const;
};

// Reads and widens all weights to float32. Unimplemented names an architecture other than LlamaForCausalLM; else fails
// as TensorSource::Tensor does.
absl::StatusOr<LlamaWeights> LoadLlamaWeights(const ModelConfig& config, const RopeRule& rope,
                                              const TensorSource& source);
// The same of a checkpoint and its own configuration.
absl::StatusOr<LlamaWeights> LoadLlamaWeights(const Checkpoint& checkpoint);

// What `config` says of RoPE, in this folder's terms.
RopeRule RopeRuleOf(const ModelConfig& config);

// Random weights (normal, standard deviation 0.05; norms one) in the shapes of `config`, with routers where it has
// "mixsga".
LlamaWeights RandomLlamaWeights(const ModelConfig& config, uint64_t seed);

// Gives a plain model fresh routers (small random weights, zero bias) for experts of these group sizes; config.mixsga
// is set with a window of `routing_window` tokens. InvalidArgument if the group sizes do not suit the model.
absl::Status AddRouters(absl::Span<const int> group_sizes, int64_t routing_window, uint64_t seed,
                        LlamaWeights& weights);

// A deep copy, detached from autograd, on `device`.
LlamaWeights CloneWeights(const LlamaWeights& weights, at::Device device = at::kCPU);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_LLAMA_WEIGHTS_H_
