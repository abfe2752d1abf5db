// The RMS norm in front of every block: adds the previous block's output to the residual stream and writes the normed rows in the
// form the next matrix product wants.
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_NORM_H_
#define RATION_ENGINE_MODEL_NORM_H_

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/model_config.h"
#include "engine/model/step_context.h"
#include "engine/weights/tensor_source.h"

namespace ration {

class Norm {
 public:
  // Reads tensor `name` [hidden_size].
  static absl::StatusOr<Norm> Create(const TensorSource& source, absl::string_view name, const ModelConfig& config);

  // step.residual += step.delta (if `has_delta`), then step.normed = the normed residual, for the first `rows` rows. `also_f32` keeps
  // float32 rows in step.normed beside bfloat16 ones.
  void Forward(StepContext& step, int64_t rows, bool has_delta, bool also_f32) const;

 private:
  at::Tensor weight_;  // [hidden_size] float32
  float epsilon_ = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_NORM_H_
