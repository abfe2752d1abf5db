// OPT's forward pass over whole sequences, without cache or pages, in all the shapes Hugging Face's OPTForCausalLM has:
// norms before or behind the sub-layers, with or without projections around the embeddings, biases, affine norms.
// Layer: tools/train. Immutable value and a pure function; thread-safe.
#ifndef RATION_TOOLS_TRAIN_OPT_FORWARD_H_
#define RATION_TOOLS_TRAIN_OPT_FORWARD_H_

#include <ATen/ATen.h>

#include <vector>

#include "absl/status/statusor.h"
#include "engine/weights/tensor_source.h"
#include "tools/train/oracle_config.h"
#include "tools/train/oracle_tensors.h"
#include "tools/train/routed_attention.h"

namespace ration {

struct LayerNormWeights {
  at::Tensor weight, bias;  // [D] or absent
};

struct OptLayerWeights {
  LayerNormWeights attention_norm, ffn_norm;
  LinearWeights q, k, v, out;
  RouterWeights router;
  LinearWeights fc1, fc2;
};

// V vocabulary, D hidden size, W the embeddings' size.
struct OptWeights {
  OracleConfig config;
  at::Tensor embed;                       // [V, W]
  at::Tensor positions;                   // [max_positions + 2, D]
  LinearWeights project_in, project_out;  // [D, W], [W, D]; absent if W == D
  LayerNormWeights final_norm;            // absent without one
  at::Tensor lm_head;                     // [V, W]; the same as embed if tied
  std::vector<OptLayerWeights> layers;
};

// Names may start with "model.decoder." or "decoder.". Fails as TensorSource::Tensor.
absl::StatusOr<OptWeights> LoadOptWeights(const OracleConfig& config, const TensorSource& source);

// tokens: [B, T] int64, T <= max_positions. Returns logits [B, T, V].
at::Tensor OptForward(const OptWeights& weights, const at::Tensor& tokens, const ForwardOptions& options);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_OPT_FORWARD_H_
