#include "engine/model/mlp_layer.h"

#include <string>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/load_linear.h"
#include "kernels/elementwise.h"

namespace ration {

absl::StatusOr<std::unique_ptr<MlpLayer>> MlpLayer::Create(const TensorSource& source, int64_t layer, const ModelConfig& config,
                                                           kernels::DType compute, kernels::cpu::ThreadPool* pool) {
  auto mlp = absl::WrapUnique(new MlpLayer);
  mlp->config_ = config;
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size;
  RATION_ASSIGN_OR_RETURN(mlp->norm_, Norm::Create(source, prefix + "post_attention_layernorm.weight", config));

  RATION_ASSIGN_OR_RETURN(mlp->gate_up_, LoadLinear(source, prefix, {{"mlp.gate_proj", inner}, {"mlp.up_proj", inner}}, hidden,
                                                    config.mlp_bias, compute, pool));
  RATION_ASSIGN_OR_RETURN(mlp->down_,
                          LoadLinear(source, prefix, {{"mlp.down_proj", hidden}}, inner, config.mlp_bias, compute, pool));
  return mlp;
}

void MlpLayer::Forward(StepContext& step, int64_t rows) {
  const int64_t hidden = config_.hidden_size, inner = config_.intermediate_size;
  const bool bf16 = step.compute == kernels::DType::kBF16;

  norm_.Forward(step, rows, /*has_delta=*/true, /*also_f32=*/false);
  gate_up_->Forward(step.normed.data(step.compute), rows, step.gate_up.Resize(rows, 2 * inner));

  step.activated.Resize(rows, inner, step.compute, false);
  kernels::cpu::SiluMulParams silu;
  silu.gate_up = step.gate_up.data();
  silu.out = bf16 ? nullptr : step.activated.f32.data();
  silu.bf16_out = bf16 ? step.activated.bf16.data() : nullptr;
  silu.rows = rows;
  silu.dim = inner;
  kernels::cpu::SiluMul(silu, step.pool);

  down_->Forward(step.activated.data(step.compute), rows, step.delta.Resize(rows, hidden));
}

}  // namespace ration
