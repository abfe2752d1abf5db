// What config.json says of a model, validated: shapes, norms, RoPE, token ids and the "mixsga" object of a routed checkpoint.
// Layer: engine/model. Value type.
#ifndef RATION_ENGINE_MODEL_MODEL_CONFIG_H_
#define RATION_ENGINE_MODEL_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/router/expert_spec.h"

namespace ration {

// The "mixsga" object of config.json; docs/routing.md describes the format.
struct MixsgaConfig {
  ExpertSpec experts;
  int64_t routing_window = 256;        // tokens, > 0
  bool elastic = false;                // trained over a range of ratios rather than one
  std::optional<Ratio> trained_ratio;  // the one ratio of a checkpoint that is not elastic
  Ratio default_ratio;                 // served unless the operator says otherwise
  std::vector<std::pair<double, Ratio>> ladder;  // (KV fraction, ratio), descending fractions; empty: the server's default
};

// RoPE frequency scaling. Only Llama-3's rule changes single frequencies; the others are refused until they are built.
struct RopeScaling {
  enum class Type { kNone, kLlama3 } type = Type::kNone;
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;
};

struct ModelConfig {
  std::string architecture;  // e.g. "LlamaForCausalLM"
  int64_t hidden_size = 0;        // D
  int64_t intermediate_size = 0;  // F
  int64_t num_layers = 0;
  int64_t num_query_heads = 0;    // H_q
  int64_t num_kv_heads = 0;       // H
  int64_t head_dim = 0;           // d, independent of D / H_q
  int64_t vocab_size = 0;
  int64_t max_positions = 0;      // context length, tokens
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;  // ascending; also from generation_config.json
  std::string torch_dtype;             // "float32", "bfloat16", "float16"; informative
  std::optional<MixsgaConfig> mixsga;  // absent: a plain checkpoint

  ExpertSpec experts() const { return mixsga ? mixsga->experts : ExpertSpec(); }
};

// Parses config.json's text. InvalidArgument names the key, the value and the rule; Unimplemented names an architecture, RoPE
// scaling type or activation that is not supported. `generation_config` is generation_config.json's text or empty.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view config_json, absl::string_view generation_config_json);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MODEL_CONFIG_H_
