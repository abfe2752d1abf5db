// The attention block of a decoder layer over the mixed-group KV cache: norm, q/k/v product, RoPE, routing, grouped append,
// attention over what the cache stores, output product.
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_ATTENTION_LAYER_H_
#define RATION_ENGINE_MODEL_ATTENTION_LAYER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_config.h"
#include "engine/model/norm.h"
#include "engine/model/rope_table.h"
#include "engine/model/router_layer.h"
#include "engine/model/step_context.h"
#include "engine/ops/linear.h"
#include "engine/weights/tensor_source.h"

namespace ration {

class AttentionLayer {
 public:
  // Tensors "self_attn.*" and the norms, as spec.layers[layer] says. `rope` must outlive the layer.
  static absl::StatusOr<std::unique_ptr<AttentionLayer>> Create(const TensorSource& source, int64_t layer, const ModelConfig& config,
                                                                const DecoderSpec& spec, const RopeTable* rope,
                                                                kernels::DType compute, kernels::cpu::ThreadPool* pool);

  // Adds step.delta (the previous block's output; nullptr before the first) to step.residual and leaves in step.delta this
  // block's output. With `only_logit_rows` (the last layer) residual and delta are narrowed to step.logit_rows.
  void Forward(StepContext& step, bool has_delta, bool only_logit_rows);

  int64_t weight_bytes() const { return qkv_->weight_bytes() + output_->weight_bytes(); }

 private:
  AttentionLayer() = default;
  void Attend(StepContext& step, const float* qkv, int64_t row_stride);

  int64_t layer_ = 0;
  ModelConfig config_;
  const RopeTable* rope_ = nullptr;  // nullptr: the model has no RoPE
  float scale_ = 0;
  float soft_cap_ = 0;
  int32_t window_ = 0;
  Norm norm_;
  Norm output_norm_;
  RouterLayer router_;
  std::unique_ptr<Linear> qkv_;     // [(H_q + 2 H) * d, D]
  std::unique_ptr<Linear> output_;  // [D, H_q * d]
};

// Keeps only the rows of step.logit_rows in `rows` [num_tokens, dim], in place.
void GatherLogitRows(const StepContext& step, float* rows, int64_t dim);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_ATTENTION_LAYER_H_
