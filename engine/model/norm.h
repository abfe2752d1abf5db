// The norm in front of a block: adds the previous block's output to the residual stream and writes the normed rows in the form the next
// matrix product wants; or behind a block, on its output before that is added (Gemma-2).
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_NORM_H_
#define RATION_ENGINE_MODEL_NORM_H_

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/model_config.h"
#include "engine/model/step_context.h"
#include "engine/weights/tensor_source.h"

namespace ration {

class Norm {
 public:
  // Reads the tensors that `spec` names, [hidden_size] each.
  static absl::StatusOr<Norm> Create(const TensorSource& source, const NormSpec& spec, const ModelConfig& config);

  // step.residual += step.delta (if `has_delta`), then step.normed = the normed residual, for the first `rows` rows. `also_f32` keeps
  // float32 rows in step.normed beside bfloat16 ones.
  void Forward(StepContext& step, int64_t rows, bool has_delta, bool also_f32) const;
  // step.delta = its normed rows. REQUIRES: kind kNone, kRms or kRmsPlusOne.
  void ForwardDelta(StepContext& step, int64_t rows) const;

 private:
  NormSpec::Kind kind_ = NormSpec::Kind::kNone;
  bool replaces_residual_ = false;
  int64_t dim_ = 0;
  at::Tensor weight_;  // [hidden_size] float32; for kRmsPlusOne with the 1 in it; undefined if there is none
  at::Tensor bias_;    // [hidden_size] float32, or undefined
  float epsilon_ = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_NORM_H_
