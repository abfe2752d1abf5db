#include "tools/train/sample_sequences.h"

#include <cmath>
#include <vector>

#include <c10/core/GradMode.h>

#include "engine/base/check.h"
#include "tools/train/decoder_math.h"
#include "tools/train/rope.h"

namespace ration {
namespace {

// Keys and values of one layer so far: [B, H, length, d].
struct Cache {
  at::Tensor k, v;
};

// q: [B, 1, H_q, d], the query at `position`, whose key and value are in the cache. Returns [B, H_q * d].
at::Tensor Attend(const at::Tensor& q, const Cache& cache, int64_t position) {
  const int64_t batch = q.size(0), num_heads = cache.k.size(1), dim = q.size(3);
  const at::Tensor query = q.reshape({batch * num_heads, q.size(2) / num_heads, dim});
  const auto so_far = [&](const at::Tensor& all) {
    return all.view({batch * num_heads, all.size(2), dim}).narrow(1, 0, position + 1);
  };
  const at::Tensor scores = at::bmm(query, so_far(cache.k).transpose(1, 2)) / std::sqrt(static_cast<double>(dim));
  return at::bmm(at::softmax(scores, -1), so_far(cache.v)).reshape({batch, q.size(2) * dim});
}

}  // namespace

at::Tensor SampleSequences(const LlamaWeights& weights, const at::Tensor& prompts, int64_t length) {
  const c10::NoGradGuard no_grad;
  const ModelConfig& c = weights.config;
  const int64_t batch = prompts.size(0), given = prompts.size(1);
  RATION_CHECK(given >= 1 && length >= given && length - 1 <= c.max_positions);
  const at::Tensor angles = RopeAngles(weights.rope, c.head_dim, length - 1).to(prompts.device());
  std::vector<Cache> caches;
  for (int64_t i = 0; i < c.num_layers; ++i) {
    const at::Tensor empty = at::empty({batch, c.num_kv_heads, length, c.head_dim}, weights.embed.options());
    caches.push_back({empty, at::empty_like(empty)});
  }
  at::Tensor sequences = at::empty({batch, length}, prompts.options());
  sequences.narrow(1, 0, given).copy_(prompts);
  for (int64_t t = 0; t + 1 < length; ++t) {
    const at::Tensor angle = angles.narrow(0, t, 1);
    at::Tensor x = at::embedding(weights.embed, sequences.select(1, t));
    for (int64_t i = 0; i < c.num_layers; ++i) {
      const LlamaLayerWeights& w = weights.layers[i];
      const at::Tensor h = RmsNorm(x, w.input_norm, c.norm_eps);
      const auto heads = [&](const at::Tensor& weight, const at::Tensor& bias, int64_t count) {
        return at::linear(h, weight, bias).view({batch, 1, count, c.head_dim});
      };
      const at::Tensor q = Rotate(heads(w.q_proj, w.q_bias, c.num_query_heads), angle);
      caches[i].k.select(2, t).copy_(Rotate(heads(w.k_proj, w.k_bias, c.num_kv_heads), angle).squeeze(1));
      caches[i].v.select(2, t).copy_(heads(w.v_proj, w.v_bias, c.num_kv_heads).squeeze(1));
      x = x + at::linear(Attend(q, caches[i], t), w.o_proj, w.o_bias);
      const at::Tensor n = RmsNorm(x, w.post_norm, c.norm_eps);
      x = x + at::linear(at::silu(at::linear(n, w.gate_proj, w.gate_bias)) * at::linear(n, w.up_proj, w.up_bias),
                         w.down_proj, w.down_bias);
    }
    if (t + 1 < given) continue;
    x = RmsNorm(x, weights.final_norm, c.norm_eps);
    const at::Tensor logits = at::linear(x, c.tie_word_embeddings ? weights.embed : weights.lm_head);
    // The largest of p / Exp(1) is distributed as p: no wait for the device, as a check of p would need.
    const at::Tensor probabilities = at::softmax(logits, 1);
    sequences.select(1, t + 1).copy_((probabilities / at::empty_like(probabilities).exponential_()).argmax(1));
  }
  return sequences;
}

}  // namespace ration
