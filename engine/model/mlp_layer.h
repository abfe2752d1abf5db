// The feed-forward block of a decoder layer: norm, gate and up products, activation(gate) * up (or one product and its activation),
// down product.
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_MLP_LAYER_H_
#define RATION_ENGINE_MODEL_MLP_LAYER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_config.h"
#include "engine/model/norm.h"
#include "engine/model/step_context.h"
#include "engine/ops/linear.h"
#include "engine/weights/tensor_source.h"

namespace ration {

class MlpLayer {
 public:
  // The tensors that `spec` and spec.layers[layer] name.
  static absl::StatusOr<std::unique_ptr<MlpLayer>> Create(const TensorSource& source, int64_t layer, const ModelConfig& config,
                                                          const DecoderSpec& spec, kernels::DType compute,
                                                          kernels::cpu::ThreadPool* pool);

  // Adds step.delta to step.residual ([rows, D] each) and leaves this block's output in step.delta.
  void Forward(StepContext& step, int64_t rows);

  int64_t weight_bytes() const { return in_->weight_bytes() + down_->weight_bytes(); }

 private:
  MlpLayer() = default;

  ModelConfig config_;
  kernels::cpu::Activation activation_ = kernels::cpu::Activation::kSilu;
  bool gated_ = true;
  Norm norm_;
  Norm output_norm_;
  std::unique_ptr<Linear> in_;    // [2 F, D]: gate, then up; [F, D] if not gated
  std::unique_ptr<Linear> down_;  // [D, F]
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MLP_LAYER_H_
