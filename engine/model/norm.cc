#include "engine/model/norm.h"

#include <ATen/ATen.h>

#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "kernels/elementwise.h"

namespace ration {
namespace {

const float* DataOrNull(const at::Tensor& tensor) { return tensor.defined() ? tensor.data_ptr<float>() : nullptr; }

}  // namespace

absl::StatusOr<Norm> Norm::Create(const TensorSource& source, const NormSpec& spec, const ModelConfig& config) {
  using Kind = NormSpec::Kind;
  Norm norm;
  norm.kind_ = spec.kind;
  norm.replaces_residual_ = spec.replaces_residual;
  norm.dim_ = config.hidden_size;
  norm.epsilon_ = static_cast<float>(config.norm_eps);
  if (spec.kind == Kind::kNone || (spec.kind == Kind::kLayer && !spec.affine)) return norm;
  RATION_ASSIGN_OR_RETURN(at::Tensor weight, source.Tensor(spec.name + ".weight", {config.hidden_size}));
  norm.weight_ = weight.to(at::kFloat).contiguous();
  if (spec.kind == Kind::kRmsPlusOne) norm.weight_ = norm.weight_ + 1.0f;
  if (spec.kind == Kind::kLayer) {
    RATION_ASSIGN_OR_RETURN(at::Tensor bias, source.Tensor(spec.name + ".bias", {config.hidden_size}));
    norm.bias_ = bias.to(at::kFloat).contiguous();
  }
  return norm;
}

void Norm::Forward(StepContext& step, int64_t rows, bool has_delta, bool also_f32) const {
  const bool bf16 = step.compute == kernels::DType::kBF16;
  step.normed.Resize(rows, dim_, step.compute, also_f32);
  const auto run = [&](auto params, const auto& kernel) {
    params.residual = step.residual.data();
    params.delta = has_delta ? step.delta.data() : nullptr;
    params.out = bf16 && !also_f32 ? nullptr : step.normed.f32.data();
    params.bf16_out = bf16 ? step.normed.bf16.data() : nullptr;
    params.rows = rows;
    params.dim = dim_;
    kernel(params, step.pool);
  };
  if (kind_ == NormSpec::Kind::kNone) {
    run(kernels::cpu::AddRowsParams(), kernels::cpu::AddRows);
  } else if (kind_ == NormSpec::Kind::kLayer) {
    kernels::cpu::LayerNormParams params;
    params.weight = DataOrNull(weight_);
    params.bias = DataOrNull(bias_);
    params.epsilon = epsilon_;
    params.replace_residual = replaces_residual_;
    run(params, kernels::cpu::LayerNorm);
  } else {
    kernels::cpu::RmsNormParams params;
    params.weight = weight_.data_ptr<float>();
    params.epsilon = epsilon_;
    run(params, kernels::cpu::RmsNorm);
  }
}

void Norm::ForwardDelta(StepContext& step, int64_t rows) const {
  if (kind_ == NormSpec::Kind::kNone) return;
  RATION_CHECK(kind_ != NormSpec::Kind::kLayer);
  kernels::cpu::RmsNormParams params;
  params.residual = step.delta.data();
  params.weight = weight_.data_ptr<float>();
  params.epsilon = epsilon_;
  params.out = step.delta.data();
  params.rows = rows;
  params.dim = dim_;
  kernels::cpu::RmsNorm(params, step.pool);
}

}  // namespace ration
