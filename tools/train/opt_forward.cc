#include "tools/train/opt_forward.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "tools/train/decoder_math.h"

namespace ration {
namespace {

// Position p has row p + 2 of the table: the first two were padding's in the code OPT was trained with.
constexpr int64_t kPositionOffset = 2;

absl::StatusOr<LayerNormWeights> ReadNorm(const TensorSource& source, const std::string& name,
                                          const OracleConfig& config) {
  LayerNormWeights norm;
  if (!config.opt.norm_affine) return norm;
  RATION_ASSIGN_OR_RETURN(norm.weight, ReadFloat(source, name + ".weight", {config.hidden_size}));
  RATION_ASSIGN_OR_RETURN(norm.bias, ReadFloat(source, name + ".bias", {config.hidden_size}));
  return norm;
}

absl::StatusOr<OptLayerWeights> ReadLayer(const TensorSource& source, const std::string& prefix,
                                          const OracleConfig& config) {
  const int64_t hidden = config.hidden_size, ffn = config.ffn_size;
  const bool bias = config.opt.bias;
  const std::string attention = prefix + "self_attn.";
  OptLayerWeights w;
  RATION_ASSIGN_OR_RETURN(w.attention_norm, ReadNorm(source, prefix + "self_attn_layer_norm", config));
  RATION_ASSIGN_OR_RETURN(w.q, ReadLinear(source, attention + "q_proj", hidden, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.k, ReadLinear(source, attention + "k_proj", hidden, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.v, ReadLinear(source, attention + "v_proj", hidden, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.out, ReadLinear(source, attention + "out_proj", hidden, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.router, ReadRouter(source, attention + "router", config));
  RATION_ASSIGN_OR_RETURN(w.ffn_norm, ReadNorm(source, prefix + "final_layer_norm", config));
  RATION_ASSIGN_OR_RETURN(w.fc1, ReadLinear(source, prefix + "fc1", ffn, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.fc2, ReadLinear(source, prefix + "fc2", hidden, ffn, bias));
  return w;
}

at::Tensor Activate(OptRules::Activation activation, const at::Tensor& x) {
  switch (activation) {
    case OptRules::Activation::kRelu:
      return at::relu(x);
    case OptRules::Activation::kGelu:
      return at::gelu(x);
    case OptRules::Activation::kGeluTanh:
      break;
  }
  return at::gelu(x, "tanh");
}

}  // namespace

absl::StatusOr<OptWeights> LoadOptWeights(const OracleConfig& config, const TensorSource& source) {
  const int64_t hidden = config.hidden_size, embed = config.opt.embed_size, vocab = config.vocab_size;
  const std::string decoder = source.Has("decoder.embed_tokens.weight") ? "decoder." : "model.decoder.";
  OptWeights weights;
  weights.config = config;
  RATION_ASSIGN_OR_RETURN(weights.embed, ReadFloat(source, decoder + "embed_tokens.weight", {vocab, embed}));
  RATION_ASSIGN_OR_RETURN(weights.positions, ReadFloat(source, decoder + "embed_positions.weight",
                                                       {config.max_positions + kPositionOffset, hidden}));
  if (embed != hidden) {
    RATION_ASSIGN_OR_RETURN(weights.project_in, ReadLinear(source, decoder + "project_in", hidden, embed, false));
    RATION_ASSIGN_OR_RETURN(weights.project_out, ReadLinear(source, decoder + "project_out", embed, hidden, false));
  }
  for (int64_t i = 0; i < config.num_layers; ++i) {
    RATION_ASSIGN_OR_RETURN(weights.layers.emplace_back(),
                            ReadLayer(source, absl::StrCat(decoder, "layers.", i, "."), config));
  }
  if (config.opt.final_norm) {
    RATION_ASSIGN_OR_RETURN(weights.final_norm, ReadNorm(source, decoder + "final_layer_norm", config));
  }
  weights.lm_head = weights.embed;
  if (!config.tied) {
    RATION_ASSIGN_OR_RETURN(weights.lm_head, ReadFloat(source, "lm_head.weight", {vocab, embed}));
  }
  return weights;
}

at::Tensor OptForward(const OptWeights& weights, const at::Tensor& tokens, const ForwardOptions& options) {
  const OracleConfig& c = weights.config;
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const ExpertSpec spec = c.experts();
  const auto norm = [&](const LayerNormWeights& w, const at::Tensor& x) {
    return at::layer_norm(x, {c.hidden_size}, w.weight, w.bias, c.norm_eps);
  };
  const auto heads = [&](const at::Tensor& x) { return x.view({batch, length, c.num_query_heads, c.head_dim}); };
  ClearOutputs(options);

  at::Tensor x = at::embedding(weights.embed, tokens);
  if (weights.project_in.weight.defined()) x = weights.project_in(x);
  x = x + weights.positions.narrow(0, kPositionOffset, length);
  if (options.trace != nullptr) options.trace->embed = x;
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const OptLayerWeights& w = weights.layers[i];
    const at::Tensor h = c.opt.norm_before ? norm(w.attention_norm, x) : x;
    at::Tensor k = heads(w.k(h)), v = heads(w.v(h));
    RouteAndGroup(static_cast<int>(i), h, w.router, spec, options, k, v);
    x = x + w.out(PlainAttention(heads(w.q(h)), k, v).reshape({batch, length, c.hidden_size}));
    if (!c.opt.norm_before) x = norm(w.attention_norm, x);

    const at::Tensor n = c.opt.norm_before ? norm(w.ffn_norm, x) : x;
    x = x + w.fc2(Activate(c.opt.activation, w.fc1(n)));
    if (!c.opt.norm_before) x = norm(w.ffn_norm, x);
    if (options.trace != nullptr) options.trace->layers.push_back(x);
  }
  if (c.opt.final_norm) x = norm(weights.final_norm, x);
  if (weights.project_out.weight.defined()) x = weights.project_out(x);
  if (options.trace != nullptr) options.trace->final = x;
  return at::linear(x, weights.lm_head);
}

}  // namespace ration
