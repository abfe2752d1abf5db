// Gemma-2's forward pass over whole sequences, without cache or pages: scaled embeddings, norms around both sub-layers,
// windows on the even layers, soft caps on scores and logits. Layer: tools/train. Immutable value and a pure function;
// thread-safe.
#ifndef RATION_TOOLS_TRAIN_GEMMA2_FORWARD_H_
#define RATION_TOOLS_TRAIN_GEMMA2_FORWARD_H_

#include <ATen/ATen.h>

#include <vector>

#include "absl/status/statusor.h"
#include "engine/weights/tensor_source.h"
#include "tools/train/oracle_config.h"
#include "tools/train/oracle_tensors.h"
#include "tools/train/routed_attention.h"

namespace ration {

// Norms are kept as what they multiply by, 1 + the stored weight.
struct Gemma2LayerWeights {
  at::Tensor input_norm, attention_norm;  // [D]: before attention, and on its output before the residual sum
  LinearWeights q, k, v, out;
  RouterWeights router;
  at::Tensor pre_ffn_norm, ffn_norm;  // [D]: before the feed-forward layer, and on its output before the residual sum
  LinearWeights gate, up, down;
};

struct Gemma2Weights {
  OracleConfig config;
  at::Tensor embed;       // [V, D]
  at::Tensor final_norm;  // [D]
  at::Tensor lm_head;     // [V, D]; the same as embed if tied
  std::vector<Gemma2LayerWeights> layers;
};

// Fails as TensorSource::Tensor.
absl::StatusOr<Gemma2Weights> LoadGemma2Weights(const OracleConfig& config, const TensorSource& source);

// tokens: [B, T] int64. Returns logits [B, T, V]. The embeddings are multiplied by sqrt(D) in float32, whatever dtype
// the weights were stored in (arithmetic in bfloat16 would round the root too).
at::Tensor Gemma2Forward(const Gemma2Weights& weights, const at::Tensor& tokens, const ForwardOptions& options);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_GEMMA2_FORWARD_H_
