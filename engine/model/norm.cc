#include "engine/model/norm.h"

#include "engine/base/status_macros.h"
#include "kernels/elementwise.h"

namespace ration {

absl::StatusOr<Norm> Norm::Create(const TensorSource& source, absl::string_view name, const ModelConfig& config) {
  Norm norm;
  RATION_ASSIGN_OR_RETURN(at::Tensor weight, source.Tensor(name, {config.hidden_size}));
  norm.weight_ = weight.to(at::kFloat).contiguous();
  norm.epsilon_ = static_cast<float>(config.rms_norm_eps);
  return norm;
}

void Norm::Forward(StepContext& step, int64_t rows, bool has_delta, bool also_f32) const {
  const int64_t dim = weight_.size(0);
  const bool bf16 = step.compute == kernels::DType::kBF16;
  step.normed.Resize(rows, dim, step.compute, also_f32);
  kernels::cpu::RmsNormParams params;
  params.residual = step.residual.data();
  params.delta = has_delta ? step.delta.data() : nullptr;
  params.weight = weight_.data_ptr<float>();
  params.epsilon = epsilon_;
  params.out = bf16 && !also_f32 ? nullptr : step.normed.f32.data();
  params.bf16_out = bf16 ? step.normed.bf16.data() : nullptr;
  params.rows = rows;
  params.dim = dim;
  kernels::cpu::RmsNorm(params, step.pool);
}

}  // namespace ration
