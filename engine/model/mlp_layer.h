// The SwiGLU feed-forward block of a Llama-style layer: norm, gate and up products, silu(gate) * up, down product.
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_MLP_LAYER_H_
#define RATION_ENGINE_MODEL_MLP_LAYER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/model/model_config.h"
#include "engine/model/norm.h"
#include "engine/model/step_context.h"
#include "engine/ops/linear.h"
#include "engine/weights/tensor_source.h"

namespace ration {

class MlpLayer {
 public:
  // Tensors "model.layers.<layer>.post_attention_layernorm.weight" and "model.layers.<layer>.mlp.*".
  static absl::StatusOr<std::unique_ptr<MlpLayer>> Create(const TensorSource& source, int64_t layer, const ModelConfig& config,
                                                          kernels::DType compute, kernels::cpu::ThreadPool* pool);

  // Adds step.delta to step.residual ([rows, D] each) and leaves this block's output in step.delta.
  void Forward(StepContext& step, int64_t rows);

  int64_t weight_bytes() const { return gate_up_->weight_bytes() + down_->weight_bytes(); }

 private:
  MlpLayer() = default;

  ModelConfig config_;
  Norm norm_;
  std::unique_ptr<Linear> gate_up_;  // [2 F, D]
  std::unique_ptr<Linear> down_;     // [D, F]
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MLP_LAYER_H_
