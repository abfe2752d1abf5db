// What config.json says of a model, validated: family, shapes, norms, RoPE, token ids and the "mixsga" object of a routed checkpoint.
// Layer: engine/model. Value type.
#ifndef RATION_ENGINE_MODEL_MODEL_CONFIG_H_
#define RATION_ENGINE_MODEL_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/mixsga_config.h"
#include "engine/model/untrained_routing.h"
#include "engine/router/expert_spec.h"

namespace ration {

enum class ModelFamily { kLlama, kOpt, kGemma2 };
const char* Name(ModelFamily family);  // "Llama", "OPT", "Gemma-2"

// RoPE frequency scaling.
struct RopeScaling {
  // kLinear: every frequency divided by `factor`. kLlama3: low frequencies are, high ones stay, those between are interpolated.
  // (The "dynamic" type changes nothing up to max_position_embeddings, and no longer context is served: cached keys cannot be turned
  // again when the base changes.)
  enum class Type { kNone, kLinear, kLlama3 } type = Type::kNone;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;
};

struct ModelConfig {
  ModelFamily family = ModelFamily::kLlama;
  std::string architecture;       // e.g. "LlamaForCausalLM"
  int64_t hidden_size = 0;        // D
  int64_t embedding_size = 0;     // of the token embedding; D, but for OPT models that project it
  int64_t intermediate_size = 0;  // F
  int64_t num_layers = 0;
  int64_t num_query_heads = 0;    // H_q
  int64_t num_kv_heads = 0;       // H
  int64_t head_dim = 0;           // d, independent of D / H_q
  int64_t vocab_size = 0;
  int64_t max_positions = 0;      // context length, tokens
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  // OPT.
  bool post_norm = false;       // norms stand behind the blocks
  bool has_final_norm = true;
  bool norm_affine = true;      // LayerNorms have weights and biases
  // Gemma-2.
  double query_pre_attn_scalar = 0;  // > 0: scores are divided by its root
  double attention_soft_cap = 0;     // 0: none
  double logit_soft_cap = 0;         // 0: none
  std::vector<int64_t> windows;      // sliding window of each layer, 0: none; empty: no layer has one

  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // ascending; also from generation_config.json
  std::string torch_dtype;             // "float32", "bfloat16", "float16"; informative
  std::optional<MixsgaConfig> mixsga;  // absent: a plain checkpoint at full KV
  UntrainedRouting untrained_routing;  // with `mixsga`, not from the checkpoint but chosen by the operator

  ExpertSpec experts() const { return mixsga ? mixsga->experts : ExpertSpec(); }
  int64_t window(int64_t layer) const { return windows.empty() ? 0 : windows[layer]; }
};

// Parses config.json's text. InvalidArgument names the key, the value and the rule; Unimplemented names an architecture, RoPE
// scaling type or activation that is not supported. `generation_config` is generation_config.json's text or empty.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view config_json, absl::string_view generation_config_json);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MODEL_CONFIG_H_
