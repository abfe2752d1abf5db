#include "tools/train/llama_weights.h"

#include <ATen/CPUGeneratorImpl.h>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

struct Entry {
  std::string name;
  at::Tensor* tensor;
  std::vector<int64_t> shape;
  bool required;
};

// What a checkpoint of this configuration holds. One list for loading, naming and random weights, so that they agree.
std::vector<Entry> Entries(LlamaWeights& weights) {
  const ModelConfig& c = weights.config;
  const int64_t q_rows = c.num_query_heads * c.head_dim, kv_rows = c.num_kv_heads * c.head_dim;
  const int64_t hidden = c.hidden_size, inner = c.intermediate_size;
  std::vector<Entry> entries = {{"model.embed_tokens.weight", &weights.embed, {c.vocab_size, hidden}, true}};
  for (int64_t i = 0; i < c.num_layers; ++i) {
    LlamaLayerWeights& w = weights.layers[i];
    const std::string layer = absl::StrCat("model.layers.", i, "."), attn = layer + "self_attn.", mlp = layer + "mlp.";
    entries.push_back({layer + "input_layernorm.weight", &w.input_norm, {hidden}, true});
    entries.push_back({attn + "q_proj.weight", &w.q_proj, {q_rows, hidden}, true});
    entries.push_back({attn + "k_proj.weight", &w.k_proj, {kv_rows, hidden}, true});
    entries.push_back({attn + "v_proj.weight", &w.v_proj, {kv_rows, hidden}, true});
    entries.push_back({attn + "o_proj.weight", &w.o_proj, {hidden, q_rows}, true});
    if (c.attention_bias) {
      entries.push_back({attn + "q_proj.bias", &w.q_bias, {q_rows}, true});
      entries.push_back({attn + "k_proj.bias", &w.k_bias, {kv_rows}, true});
      entries.push_back({attn + "v_proj.bias", &w.v_bias, {kv_rows}, true});
      entries.push_back({attn + "o_proj.bias", &w.o_bias, {hidden}, true});
    }
    entries.push_back({layer + "post_attention_layernorm.weight", &w.post_norm, {hidden}, true});
    entries.push_back({mlp + "gate_proj.weight", &w.gate_proj, {inner, hidden}, true});
    entries.push_back({mlp + "up_proj.weight", &w.up_proj, {inner, hidden}, true});
    entries.push_back({mlp + "down_proj.weight", &w.down_proj, {hidden, inner}, true});
    if (c.mlp_bias) {
      entries.push_back({mlp + "gate_proj.bias", &w.gate_bias, {inner}, true});
      entries.push_back({mlp + "up_proj.bias", &w.up_bias, {inner}, true});
      entries.push_back({mlp + "down_proj.bias", &w.down_bias, {hidden}, true});
    }
    if (c.mixsga) {
      const int64_t experts = c.mixsga->experts.num_experts();
      entries.push_back({attn + "router.weight", &w.router_weight, {experts, hidden}, true});
      entries.push_back({attn + "router.bias", &w.router_bias, {experts}, true});
      entries.push_back({attn + "router.calibration", &w.router_calibration, {-1, experts}, false});
    }
  }
  entries.push_back({"model.norm.weight", &weights.final_norm, {hidden}, true});
  if (!c.tie_word_embeddings) entries.push_back({"lm_head.weight", &weights.lm_head, {c.vocab_size, hidden}, true});
  return entries;
}

}  // namespace

RopeRule RopeRuleOf(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  RopeRule rule;
  rule.theta = config.rope_theta;
  switch (scaling.type) {  // no default: a new type must be said here too
    case RopeScaling::Type::kNone:
      break;
    case RopeScaling::Type::kLinear:
      rule.type = RopeRule::Type::kLinear;
      rule.factor = scaling.factor;
      break;
    case RopeScaling::Type::kLlama3:
      rule.type = RopeRule::Type::kLlama3;
      rule.factor = scaling.factor;
      rule.low_freq_factor = scaling.low_freq_factor;
      rule.high_freq_factor = scaling.high_freq_factor;
      rule.original_positions = scaling.original_max_position_embeddings;
      break;
  }
  return rule;
}

absl::StatusOr<LlamaWeights> LoadLlamaWeights(const Checkpoint& checkpoint) {
  return LoadLlamaWeights(checkpoint.config(), RopeRuleOf(checkpoint.config()), checkpoint);
}

absl::StatusOr<LlamaWeights> LoadLlamaWeights(const ModelConfig& config, const RopeRule& rope,
                                              const TensorSource& source) {
  if (config.architecture != "LlamaForCausalLM") {
    return absl::UnimplementedError(absl::StrCat("architecture ", config.architecture,
                                                 " cannot be trained or evaluated here (LlamaForCausalLM can)"));
  }
  LlamaWeights weights;
  weights.config = config;
  weights.rope = rope;
  weights.layers.resize(weights.config.num_layers);
  for (const Entry& entry : Entries(weights)) {
    std::string name = entry.name;
    // A tied table may be stored under either of its names.
    if (entry.tensor == &weights.embed && weights.config.tie_word_embeddings && !source.Has(name))
      name = "lm_head.weight";
    if (!entry.required && !source.Has(name)) continue;
    RATION_ASSIGN_OR_RETURN(const at::Tensor stored, source.Tensor(name, entry.shape));
    *entry.tensor = stored.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  }
  return weights;
}

std::vector<std::pair<std::string, at::Tensor*>> LlamaWeights::Named() {
  std::vector<std::pair<std::string, at::Tensor*>> named;
  for (Entry& entry : Entries(*this)) {
    if (entry.tensor->defined()) named.emplace_back(std::move(entry.name), entry.tensor);
  }
  return named;
}

std::vector<std::pair<std::string, at::Tensor>> LlamaWeights::Named() const {
  LlamaWeights handles = *this;  // tensors are handles: nothing is copied
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (auto& [name, tensor] : handles.Named()) named.emplace_back(name, *tensor);
  return named;
}

LlamaWeights RandomLlamaWeights(const ModelConfig& config, uint64_t seed) {
  LlamaWeights weights;
  weights.config = config;
  weights.rope = RopeRuleOf(config);
  weights.layers.resize(config.num_layers);
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (const Entry& entry : Entries(weights)) {
    if (!entry.required) continue;
    *entry.tensor = entry.name.find("norm.weight") != std::string::npos
                        ? at::ones(entry.shape, at::kFloat)
                        : at::randn(entry.shape, generator, at::TensorOptions().dtype(at::kFloat)) * 0.05;
  }
  return weights;
}

absl::Status AddRouters(absl::Span<const int> group_sizes, int64_t routing_window, uint64_t seed,
                        LlamaWeights& weights) {
  RATION_ASSIGN_OR_RETURN(const ExpertSpec spec,
                          ExpertSpec::Create(group_sizes, static_cast<int>(weights.config.num_kv_heads)));
  MixsgaConfig mixsga;
  mixsga.experts = spec;
  mixsga.routing_window = routing_window;
  mixsga.elastic = true;
  mixsga.default_ratio = Ratio::AllTo(0, spec.num_experts());
  weights.config.mixsga = mixsga;
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (LlamaLayerWeights& w : weights.layers) {
    w.router_weight =
        at::randn({spec.num_experts(), weights.config.hidden_size}, generator, at::TensorOptions().dtype(at::kFloat)) *
        0.02;
    w.router_bias = at::zeros({spec.num_experts()}, at::kFloat);
    w.router_calibration = at::Tensor();
  }
  return absl::OkStatus();
}

LlamaWeights CloneWeights(const LlamaWeights& weights, at::Device device) {
  LlamaWeights copy = weights;
  for (auto& [name, tensor] : copy.Named()) {
    *tensor = tensor->detach().to(device, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  }
  return copy;
}

}  // namespace ration
