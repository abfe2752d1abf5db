#include "tools/train/gemma2_forward.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "tools/train/decoder_math.h"
#include "tools/train/rope.h"

namespace ration {
namespace {

absl::StatusOr<at::Tensor> ReadNorm(const TensorSource& source, const std::string& name, const OracleConfig& config) {
  RATION_ASSIGN_OR_RETURN(const at::Tensor stored, ReadFloat(source, name + ".weight", {config.hidden_size}));
  return stored + 1;
}

absl::StatusOr<Gemma2LayerWeights> ReadLayer(const TensorSource& source, const std::string& prefix,
                                             const OracleConfig& config) {
  const int64_t hidden = config.hidden_size, ffn = config.ffn_size;
  const int64_t q_rows = config.num_query_heads * config.head_dim, kv_rows = config.num_kv_heads * config.head_dim;
  const bool bias = config.attention_bias;
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  Gemma2LayerWeights w;
  RATION_ASSIGN_OR_RETURN(w.input_norm, ReadNorm(source, prefix + "input_layernorm", config));
  RATION_ASSIGN_OR_RETURN(w.q, ReadLinear(source, attention + "q_proj", q_rows, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.k, ReadLinear(source, attention + "k_proj", kv_rows, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.v, ReadLinear(source, attention + "v_proj", kv_rows, hidden, bias));
  RATION_ASSIGN_OR_RETURN(w.out, ReadLinear(source, attention + "o_proj", hidden, q_rows, bias));
  RATION_ASSIGN_OR_RETURN(w.router, ReadRouter(source, attention + "router", config));
  RATION_ASSIGN_OR_RETURN(w.attention_norm, ReadNorm(source, prefix + "post_attention_layernorm", config));
  RATION_ASSIGN_OR_RETURN(w.pre_ffn_norm, ReadNorm(source, prefix + "pre_feedforward_layernorm", config));
  RATION_ASSIGN_OR_RETURN(w.gate, ReadLinear(source, mlp + "gate_proj", ffn, hidden, false));
  RATION_ASSIGN_OR_RETURN(w.up, ReadLinear(source, mlp + "up_proj", ffn, hidden, false));
  RATION_ASSIGN_OR_RETURN(w.down, ReadLinear(source, mlp + "down_proj", hidden, ffn, false));
  RATION_ASSIGN_OR_RETURN(w.ffn_norm, ReadNorm(source, prefix + "post_feedforward_layernorm", config));
  return w;
}

}  // namespace

absl::StatusOr<Gemma2Weights> LoadGemma2Weights(const OracleConfig& config, const TensorSource& source) {
  const int64_t hidden = config.hidden_size, vocab = config.vocab_size;
  Gemma2Weights weights;
  weights.config = config;
  RATION_ASSIGN_OR_RETURN(weights.embed, ReadFloat(source, "model.embed_tokens.weight", {vocab, hidden}));
  for (int64_t i = 0; i < config.num_layers; ++i) {
    RATION_ASSIGN_OR_RETURN(weights.layers.emplace_back(),
                            ReadLayer(source, absl::StrCat("model.layers.", i, "."), config));
  }
  RATION_ASSIGN_OR_RETURN(weights.final_norm, ReadNorm(source, "model.norm", config));
  weights.lm_head = weights.embed;
  if (!config.tied) {
    RATION_ASSIGN_OR_RETURN(weights.lm_head, ReadFloat(source, "lm_head.weight", {vocab, hidden}));
  }
  return weights;
}

at::Tensor Gemma2Forward(const Gemma2Weights& weights, const at::Tensor& tokens, const ForwardOptions& options) {
  const OracleConfig& c = weights.config;
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const ExpertSpec spec = c.experts();
  const at::Tensor angles = RopeAngles(c.rope, c.head_dim, length);
  const auto norm = [&](const at::Tensor& scale, const at::Tensor& x) { return RmsNorm(x, scale, c.norm_eps); };
  const auto heads = [&](const at::Tensor& x, int64_t count) { return x.view({batch, length, count, c.head_dim}); };
  ClearOutputs(options);

  AttentionRule full;
  full.scale = 1 / std::sqrt(c.gemma2.query_scalar);
  full.softcap = c.gemma2.attention_cap;
  AttentionRule sliding = full;
  sliding.window = c.gemma2.window;

  at::Tensor x = at::embedding(weights.embed, tokens) * std::sqrt(static_cast<float>(c.hidden_size));
  if (options.trace != nullptr) options.trace->embed = x;
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const Gemma2LayerWeights& w = weights.layers[i];
    const at::Tensor h = norm(w.input_norm, x);
    const at::Tensor q = Rotate(heads(w.q(h), c.num_query_heads), angles);
    at::Tensor k = Rotate(heads(w.k(h), c.num_kv_heads), angles), v = heads(w.v(h), c.num_kv_heads);
    RouteAndGroup(static_cast<int>(i), h, w.router, spec, options, k, v);
    const at::Tensor mixed = PlainAttention(q, k, v, i % 2 == 0 ? sliding : full);
    x = x + norm(w.attention_norm, w.out(mixed.reshape({batch, length, c.num_query_heads * c.head_dim})));

    const at::Tensor n = norm(w.pre_ffn_norm, x);
    x = x + norm(w.ffn_norm, w.down(at::gelu(w.gate(n), "tanh") * w.up(n)));
    if (options.trace != nullptr) options.trace->layers.push_back(x);
  }
  x = norm(weights.final_norm, x);
  if (options.trace != nullptr) options.trace->final = x;
  return SoftCap(at::linear(x, weights.lm_head), c.gemma2.final_cap);
}

}  // namespace ration
