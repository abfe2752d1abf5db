#include "tools/train/llama_forward.h"

#include "tools/train/decoder_math.h"
#include "tools/train/rope.h"

namespace ration {

at::Tensor LlamaForward(const LlamaWeights& weights, const at::Tensor& tokens, const ForwardOptions& options) {
  const ModelConfig& c = weights.config;
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const at::Tensor angles =
      RopeAngles(weights.rope, c.head_dim, length).to(tokens.device(), at::kFloat, /*non_blocking=*/true);
  const ExpertSpec spec = c.experts();
  ClearOutputs(options);

  at::Tensor x = at::embedding(weights.embed, tokens);
  if (options.trace != nullptr) options.trace->embed = x;
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const LlamaLayerWeights& w = weights.layers[i];
    const at::Tensor h = RmsNorm(x, w.input_norm, c.norm_eps);
    const at::Tensor q =
        Rotate(at::linear(h, w.q_proj, w.q_bias).view({batch, length, c.num_query_heads, c.head_dim}), angles);
    at::Tensor k = Rotate(at::linear(h, w.k_proj, w.k_bias).view({batch, length, c.num_kv_heads, c.head_dim}), angles);
    at::Tensor v = at::linear(h, w.v_proj, w.v_bias).view({batch, length, c.num_kv_heads, c.head_dim});
    RouteAndGroup(static_cast<int>(i), h, {w.router_weight, w.router_bias, w.router_calibration}, spec, options, k, v);
    const at::Tensor mixed = options.attention ? options.attention(q, k, v) : PlainAttention(q, k, v);
    x = x + at::linear(mixed.reshape({batch, length, c.num_query_heads * c.head_dim}), w.o_proj, w.o_bias);
    const at::Tensor n = RmsNorm(x, w.post_norm, c.norm_eps);
    const at::Tensor inner = at::silu(at::linear(n, w.gate_proj, w.gate_bias)) * at::linear(n, w.up_proj, w.up_bias);
    x = x + at::linear(inner, w.down_proj, w.down_bias);
    if (options.trace != nullptr) options.trace->layers.push_back(x);
  }
  x = RmsNorm(x, weights.final_norm, c.norm_eps);
  if (options.trace != nullptr) options.trace->final = x;
  return at::linear(x, c.tie_word_embeddings ? weights.embed : weights.lm_head);
}

}  // namespace ration
