// The Llama architecture (LlamaForCausalLM: Llama 1 to 3.x, TinyLlama and relatives): pre-norm with RMSNorm, GQA or MHA, RoPE, SwiGLU,
// tied or untied output. Layer: engine/model.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/model/decoder_spec.h"

namespace ration {

DecoderSpec DescribeLlama(const ModelConfig& config, const TensorSource& source) {
  using Kind = NormSpec::Kind;
  DecoderSpec spec;
  const std::string prefix = FindPrefix(source, {"model.", ""}, "norm.weight");
  spec.embedding = prefix + "embed_tokens.weight";
  spec.output = "lm_head.weight";
  spec.final_norm = {Kind::kRms, prefix + "norm"};
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerSpec& layer = spec.layers.emplace_back();
    layer.prefix = absl::StrCat(prefix, "layers.", i, ".");
    layer.attention_norm = {Kind::kRms, layer.prefix + "input_layernorm"};
    layer.mlp_norm = {Kind::kRms, layer.prefix + "post_attention_layernorm"};
  }
  spec.attention_bias = config.attention_bias;
  spec.mlp_in = {"mlp.gate_proj", "mlp.up_proj"};
  spec.mlp_out = "mlp.down_proj";
  spec.mlp_bias = config.mlp_bias;
  spec.activation = kernels::cpu::Activation::kSilu;
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  return spec;
}

}  // namespace ration
