#include "tools/train/llama_forward.h"

#include <cmath>

namespace ration {
namespace {

constexpr double kPi = 3.14159265358979323846;

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * at::rsqrt(at::mean(x * x, {-1}, /*keepdim=*/true) + eps) * weight;
}

// Rotates the pairs (i, i + d/2), as Hugging Face lays Llama's heads out. x: [B, T, H, d]; cos, sin: [T, 1, d/2].
at::Tensor Rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const std::vector<at::Tensor> half = x.chunk(2, -1);
  return at::cat({half[0] * cos - half[1] * sin, half[1] * cos + half[0] * sin}, -1);
}

}  // namespace

at::Tensor RopeAngles(const ModelConfig& config, int64_t num_positions) {
  const int64_t half = config.head_dim / 2;
  at::Tensor frequencies = at::empty({half}, at::kFloat);
  const RopeScaling& scaling = config.rope_scaling;
  for (int64_t i = 0; i < half; ++i) {
    double frequency = 1.0 / std::pow(config.rope_theta, 2.0 * static_cast<double>(i) / config.head_dim);
    if (scaling.type == RopeScaling::Type::kLlama3) {
      // Wavelengths beyond the original context are stretched by `factor`, short ones kept, those between blended.
      const double turns = scaling.original_max_position_embeddings * frequency / (2 * kPi);
      if (turns < scaling.low_freq_factor) {
        frequency /= scaling.factor;
      } else if (turns < scaling.high_freq_factor) {
        const double keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency *= keep + (1 - keep) / scaling.factor;
      }
    }
    frequencies[i] = static_cast<float>(frequency);
  }
  return at::outer(at::arange(num_positions, at::kFloat), frequencies);
}

at::Tensor GroupHeads(const at::Tensor& heads, const at::Tensor& gates, const ExpertSpec& spec) {
  const int64_t batch = heads.size(0), length = heads.size(1), num_heads = heads.size(2), dim = heads.size(3);
  at::Tensor grouped;
  for (int e = 0; e < spec.num_experts(); ++e) {
    const int64_t group = spec.group_size(e);
    at::Tensor means = heads;
    if (group > 1) {
      means = heads.view({batch, length, num_heads / group, group, dim})
                  .mean(3, /*keepdim=*/true)
                  .expand({batch, length, num_heads / group, group, dim})
                  .reshape({batch, length, num_heads, dim});
    }
    const at::Tensor gate = gates.select(2, e).view({batch, length, 1, 1});
    grouped = e == 0 ? means * gate : grouped + means * gate;
  }
  return grouped;
}

at::Tensor PlainAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t length = q.size(1), repeat = q.size(2) / k.size(2);
  const at::Tensor query = q.transpose(1, 2);                                  // [B, H_q, T, d]
  const at::Tensor key = at::repeat_interleave(k.transpose(1, 2), repeat, 1);  // [B, H_q, T, d]
  const at::Tensor value = at::repeat_interleave(v.transpose(1, 2), repeat, 1);
  const at::Tensor future = at::ones({length, length}, at::kBool).triu(1);
  at::Tensor scores = at::matmul(query, key.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
  scores = scores.masked_fill(future, -std::numeric_limits<float>::infinity());
  return at::matmul(at::softmax(scores, -1), value).transpose(1, 2);
}

at::Tensor LlamaForward(const LlamaWeights& weights, const at::Tensor& tokens, const ForwardOptions& options) {
  const ModelConfig& c = weights.config;
  const int64_t batch = tokens.size(0), length = tokens.size(1);
  const at::Tensor angles = RopeAngles(c, length).unsqueeze(1);
  const at::Tensor cos = angles.cos(), sin = angles.sin();
  const bool routed = options.route && weights.has_routers();
  if (options.routing != nullptr) options.routing->clear();
  if (options.attention_inputs != nullptr) options.attention_inputs->clear();

  at::Tensor x = at::embedding(weights.embed, tokens);
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const LlamaLayerWeights& w = weights.layers[i];
    const at::Tensor h = RmsNorm(x, w.input_norm, c.norm_eps);
    if (options.attention_inputs != nullptr) options.attention_inputs->push_back(h);
    const at::Tensor q =
        Rotate(at::linear(h, w.q_proj, w.q_bias).view({batch, length, c.num_query_heads, c.head_dim}), cos, sin);
    at::Tensor k =
        Rotate(at::linear(h, w.k_proj, w.k_bias).view({batch, length, c.num_kv_heads, c.head_dim}), cos, sin);
    at::Tensor v = at::linear(h, w.v_proj, w.v_bias).view({batch, length, c.num_kv_heads, c.head_dim});
    if (routed) {
      LayerRouting routing;
      routing.logits = at::linear(h, w.router_weight, w.router_bias);
      routing.scores = at::sigmoid(routing.logits);
      routing.experts = options.route(static_cast<int>(i), routing.scores.detach().contiguous());
      at::Tensor gates = at::one_hot(routing.experts, routing.scores.size(2)).to(at::kFloat);  // [B, T, E]
      if (options.straight_through != StraightThrough::kNone) {
        // S - S is zero, exactly, in the forward pass; the gradient sees the first S.
        at::Tensor through = routing.scores - routing.scores.detach();
        if (options.straight_through == StraightThrough::kAll) {
          // Every token would rather keep more heads, but quotas are fixed: only the difference to the others can
          // matter, and without taking the mean away all scores would drift up.
          through = through - through.mean(1, /*keepdim=*/true);  // the mean of zeros is zero
        } else {
          through = through * gates;
        }
        gates = gates + through;
      }
      k = GroupHeads(k, gates, c.mixsga->experts);
      v = GroupHeads(v, gates, c.mixsga->experts);
      if (options.routing != nullptr) options.routing->push_back(std::move(routing));
    }
    const at::Tensor mixed = options.attention ? options.attention(q, k, v) : PlainAttention(q, k, v);
    x = x + at::linear(mixed.reshape({batch, length, c.num_query_heads * c.head_dim}), w.o_proj, w.o_bias);
    const at::Tensor n = RmsNorm(x, w.post_norm, c.norm_eps);
    const at::Tensor inner = at::silu(at::linear(n, w.gate_proj, w.gate_bias)) * at::linear(n, w.up_proj, w.up_bias);
    x = x + at::linear(inner, w.down_proj, w.down_bias);
  }
  x = RmsNorm(x, weights.final_norm, c.norm_eps);
  return at::linear(x, c.tie_word_embeddings ? weights.embed : weights.lm_head);
}

}  // namespace ration
