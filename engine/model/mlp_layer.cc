#include "engine/model/mlp_layer.h"

#include <string>
#include <vector>

#include "absl/memory/memory.h"
#include "engine/base/status_macros.h"
#include "engine/model/load_linear.h"
#include "kernels/elementwise.h"

namespace ration {

absl::StatusOr<std::unique_ptr<MlpLayer>> MlpLayer::Create(const TensorSource& source, int64_t layer, const ModelConfig& config,
                                                           const DecoderSpec& spec, kernels::DType compute,
                                                           kernels::cpu::ThreadPool* pool) {
  auto mlp = absl::WrapUnique(new MlpLayer);
  mlp->config_ = config;
  mlp->activation_ = spec.activation;
  mlp->gated_ = spec.gated();
  const LayerSpec& names = spec.layers[layer];
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  RATION_ASSIGN_OR_RETURN(mlp->norm_, Norm::Create(source, names.mlp_norm, config));
  RATION_ASSIGN_OR_RETURN(mlp->output_norm_, Norm::Create(source, names.mlp_output, config));

  std::vector<Projection> in;
  for (const std::string& name : spec.mlp_in) in.push_back({name, inner});
  RATION_ASSIGN_OR_RETURN(mlp->in_, LoadLinear(source, names.prefix, in, hidden, spec.mlp_bias, compute, pool));
  RATION_ASSIGN_OR_RETURN(mlp->down_,
                          LoadLinear(source, names.prefix, {{spec.mlp_out, hidden}}, inner, spec.mlp_bias, compute, pool));
  return mlp;
}

void MlpLayer::Forward(StepContext& step, int64_t rows) {
  const int64_t hidden = config_.hidden_size, inner = config_.intermediate_size;
  const bool bf16 = step.compute == kernels::DType::kBF16;

  norm_.Forward(step, rows, /*has_delta=*/true, /*also_f32=*/false);
  in_->Forward(step.normed.data(step.compute), rows, step.mlp.Resize(rows, in_->out_features()));

  step.activated.Resize(rows, inner, step.compute, false);
  kernels::cpu::ActivateParams activate;
  activate.activation = activation_;
  activate.gated = gated_;
  activate.in = step.mlp.data();
  activate.out = bf16 ? nullptr : step.activated.f32.data();
  activate.bf16_out = bf16 ? step.activated.bf16.data() : nullptr;
  activate.rows = rows;
  activate.dim = inner;
  kernels::cpu::Activate(activate, step.pool);

  down_->Forward(step.activated.data(step.compute), rows, step.delta.Resize(rows, hidden));
  output_norm_.ForwardDelta(step, rows);
}

}  // namespace ration
