// What the oracle needs of a Hugging Face config.json, for every family it knows, read by the rules and with the
// defaults of Hugging Face transformers' own configuration classes. Deliberately not engine/model's ModelConfig: the
// oracle is what the engine is compared with. Layer: tools/train. Value type.
#ifndef RATION_TOOLS_TRAIN_ORACLE_CONFIG_H_
#define RATION_TOOLS_TRAIN_ORACLE_CONFIG_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/router/expert_spec.h"
#include "tools/train/rope.h"

namespace ration {

enum class OracleFamily { kLlama, kOpt, kGemma2 };

// The "mixsga" object.
struct OracleRouting {
  ExpertSpec experts;
  int64_t window = 256;  // tokens
  Ratio default_ratio;
};

struct OptRules {
  enum class Activation { kRelu, kGelu, kGeluTanh };
  int64_t embed_size = 0;   // word_embed_proj_dim; other than hidden_size: with projections in and out
  bool norm_before = true;  // do_layer_norm_before; false: each norm stands behind its residual sum
  bool final_norm = true;   // only ever with norm_before
  bool norm_affine = true;  // norms have weights and biases
  bool bias = true;         // every linear layer of a decoder layer has one
  Activation activation = Activation::kRelu;
};

struct Gemma2Rules {
  double query_scalar = 256;  // scores are q·k / sqrt(this)
  double attention_cap = 50;  // 0: none
  double final_cap = 30;      // 0: none
  int64_t window = 4096;      // of the even layers, tokens; 0: none
};

struct OracleConfig {
  OracleFamily family = OracleFamily::kLlama;
  int64_t hidden_size = 0;
  int64_t ffn_size = 0;
  int64_t num_layers = 0;
  int64_t num_query_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;  // max_position_embeddings
  double norm_eps = 0;
  bool tied = false;                     // the head is the embedding table
  bool attention_bias = false;           // Llama and Gemma-2
  bool mlp_bias = false;                 // Llama
  RopeRule rope;                         // not OPT
  OptRules opt;                          // OPT only
  Gemma2Rules gemma2;                    // Gemma-2 only
  std::optional<OracleRouting> routing;  // absent: a plain checkpoint

  // The longest sequence: max_positions, and with dynamic RoPE, which is for more, `factor` times as many.
  int64_t max_length() const;
  ExpertSpec experts() const { return routing ? routing->experts : ExpertSpec(); }
};

// InvalidArgument names key, value and rule; Unimplemented names an architecture, activation, RoPE scaling or layer
// pattern that the oracle does not know.
absl::StatusOr<OracleConfig> ParseOracleConfig(absl::string_view config_json);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ORACLE_CONFIG_H_
