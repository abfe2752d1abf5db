// Gemma-2 (Gemma2ForCausalLM): RMSNorm with 1 + weight in front of and behind both blocks, scaled embedding, gated GELU, soft-capped
// attention scores and logits, and a sliding window on every other layer. Layer: engine/model.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/model/decoder_spec.h"

namespace ration {

DecoderSpec DescribeGemma2(const ModelConfig& config, const TensorSource& source) {
  constexpr auto kKind = NormSpec::Kind::kRmsPlusOne;
  DecoderSpec spec;
  const std::string prefix = FindPrefix(source, {"model.", ""}, "norm.weight");
  spec.embedding = prefix + "embed_tokens.weight";
  spec.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  spec.output = "lm_head.weight";
  spec.final_norm = {kKind, prefix + "norm"};
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerSpec& layer = spec.layers.emplace_back();
    layer.prefix = absl::StrCat(prefix, "layers.", i, ".");
    layer.attention_norm = {kKind, layer.prefix + "input_layernorm"};
    layer.attention_output = {kKind, layer.prefix + "post_attention_layernorm"};
    layer.mlp_norm = {kKind, layer.prefix + "pre_feedforward_layernorm"};
    layer.mlp_output = {kKind, layer.prefix + "post_feedforward_layernorm"};
    layer.window = config.window(i);
  }
  spec.attention_bias = config.attention_bias;
  spec.mlp_in = {"mlp.gate_proj", "mlp.up_proj"};
  spec.mlp_out = "mlp.down_proj";
  spec.activation = kernels::cpu::Activation::kGeluTanh;
  spec.attention_scale = 1.0 / std::sqrt(config.query_pre_attn_scalar);
  spec.attention_soft_cap = config.attention_soft_cap;
  spec.logit_soft_cap = config.logit_soft_cap;
  return spec;
}

}  // namespace ration
