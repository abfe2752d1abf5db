// OPT (OPTForCausalLM, also Galactica): learned positions, LayerNorm in front of the blocks or, in the 350m model, behind them,
// biases, a plain two-matrix feed-forward block, and in the 350m model an embedding narrower than the decoder. Layer: engine/model.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/model/decoder_spec.h"

namespace ration {

DecoderSpec DescribeOpt(const ModelConfig& config, const TensorSource& source) {
  DecoderSpec spec;
  const std::string prefix =
      FindPrefix(source, {"model.decoder.", "decoder.", ""}, "layers.0.self_attn.q_proj.weight");
  const auto norm = [&](const std::string& name, bool behind) {
    return NormSpec{NormSpec::Kind::kLayer, name, config.norm_affine, behind};
  };
  spec.embedding = prefix + "embed_tokens.weight";
  spec.output = "lm_head.weight";
  spec.rope = false;
  spec.positions = prefix + "embed_positions.weight";
  spec.position_offset = 2;
  if (config.embedding_size != config.hidden_size) {
    spec.project_in = prefix + "project_in";
    spec.project_out = prefix + "project_out";
  }
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerSpec& layer = spec.layers.emplace_back();
    layer.prefix = absl::StrCat(prefix, "layers.", i, ".");
    if (config.post_norm) {
      // A norm behind a block stands in front of the next one; the residual stream goes on from its rows.
      if (i > 0) layer.attention_norm = norm(absl::StrCat(prefix, "layers.", i - 1, ".final_layer_norm"), true);
      layer.mlp_norm = norm(layer.prefix + "self_attn_layer_norm", true);
      if (i + 1 == config.num_layers) spec.final_norm = norm(layer.prefix + "final_layer_norm", true);
    } else {
      layer.attention_norm = norm(layer.prefix + "self_attn_layer_norm", false);
      layer.mlp_norm = norm(layer.prefix + "final_layer_norm", false);
    }
  }
  if (!config.post_norm && config.has_final_norm) spec.final_norm = norm(prefix + "final_layer_norm", false);
  spec.attention_output_projection = "self_attn.out_proj";
  spec.attention_bias = config.attention_bias;
  spec.mlp_in = {"fc1"};
  spec.mlp_out = "fc2";
  spec.mlp_bias = config.mlp_bias;
  spec.activation = kernels::cpu::Activation::kRelu;
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim));
  return spec;
}

}  // namespace ration
