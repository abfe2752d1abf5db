#include "engine/model/family_config.h"

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

using Json = nlohmann::json;

// Far above any model there is, far below where a product of two or three of them could overflow int64.
constexpr int64_t kMaxHiddenSize = int64_t{1} << 20;
constexpr int64_t kMaxIntermediateSize = int64_t{1} << 22;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxHeads = 16384;
constexpr int64_t kMaxHeadDim = 4096;
constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 30;

// REQUIRES: hidden_size is set.
absl::Status ParseHeads(const JsonFields& fields, int64_t default_head_dim, ModelConfig& config) {
  RATION_ASSIGN_OR_RETURN(config.num_query_heads, fields.Int("num_attention_heads", 1, kMaxHeads));
  RATION_ASSIGN_OR_RETURN(config.num_kv_heads,
                          fields.IntOr("num_key_value_heads", config.num_query_heads, 1, kMaxHeads));
  if (config.num_query_heads % config.num_kv_heads != 0) {
    return fields.Error("num_key_value_heads", "must divide num_attention_heads ", config.num_query_heads, ", and ",
                        config.num_kv_heads, " does not");
  }
  if (default_head_dim == 0 && fields.Find("head_dim") == nullptr) {
    if (config.hidden_size % config.num_query_heads != 0) {
      return fields.Error("num_attention_heads", "must divide hidden_size ", config.hidden_size,
                          " where head_dim is not given, and ", config.num_query_heads, " does not");
    }
    default_head_dim = config.hidden_size / config.num_query_heads;
  }
  RATION_ASSIGN_OR_RETURN(config.head_dim, fields.IntOr("head_dim", default_head_dim, 1, kMaxHeadDim));
  if (config.head_dim > kMaxHeadDim) {
    return fields.Error("head_dim", "must be at most ", kMaxHeadDim, ", not ", config.head_dim);
  }
  return absl::OkStatus();
}

absl::Status ParseCommon(const JsonFields& fields, bool tied, ModelConfig& config) {
  RATION_ASSIGN_OR_RETURN(config.hidden_size, fields.Int("hidden_size", 1, kMaxHiddenSize));
  config.embedding_size = config.hidden_size;
  RATION_ASSIGN_OR_RETURN(config.num_layers, fields.Int("num_hidden_layers", 1, kMaxLayers));
  RATION_ASSIGN_OR_RETURN(config.vocab_size, fields.Int("vocab_size", 1, kMaxVocabSize));
  RATION_ASSIGN_OR_RETURN(config.tie_word_embeddings, fields.BoolOr("tie_word_embeddings", tied));
  RATION_ASSIGN_OR_RETURN(config.torch_dtype, fields.StringOr("torch_dtype", "float32"));
  return absl::OkStatus();
}

absl::Status CheckActivation(const JsonFields& fields, const char* key, absl::string_view otherwise,
                             std::initializer_list<absl::string_view> supported) {
  RATION_ASSIGN_OR_RETURN(const std::string activation, fields.StringOr(key, otherwise));
  for (absl::string_view name : supported) {
    if (activation == name) return absl::OkStatus();
  }
  return fields.Unsupported(key, activation, absl::StrCat(*supported.begin(), " is"));
}

absl::Status CheckPairs(const JsonFields& fields, const ModelConfig& config) {
  if (config.head_dim % 2 == 0) return absl::OkStatus();  // RoPE turns pairs
  return fields.Error("head_dim", "must be even and at most ", kMaxHeadDim, ", not ", config.head_dim);
}

absl::Status ParseRope(const JsonFields& fields, ModelConfig& config) {
  RATION_ASSIGN_OR_RETURN(config.rope_theta, fields.DoubleOr("rope_theta", 10000, 1, 1e12));
  // "rope_scaling", and in newer files "rope_parameters", which holds rope_theta too.
  const char* const key = fields.Find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const Json* value = fields.Find(key);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_object()) return fields.Error(key, "must be an object or null, not ", ShownJson(*value));
  const JsonFields rope(*value, absl::StrCat(fields.where(), key, "."));
  RATION_ASSIGN_OR_RETURN(config.rope_theta, rope.DoubleOr("rope_theta", config.rope_theta, 1, 1e12));
  const char* const type_key = rope.Find("rope_type") != nullptr ? "rope_type" : "type";  // "type" in older files
  if (rope.Find(type_key) == nullptr) return rope.Error("rope_type", "is missing");
  RATION_ASSIGN_OR_RETURN(const std::string type, rope.StringOr(type_key, ""));
  if (type == "default") return absl::OkStatus();
  if (type != "llama3" && type != "linear" && type != "dynamic") {
    return rope.Unsupported(type_key, type, "llama3, linear, dynamic and default are");
  }
  RopeScaling& scaling = config.rope_scaling;
  RATION_ASSIGN_OR_RETURN(scaling.factor, rope.Double("factor", 1, 1e5));
  if (type == "dynamic") return absl::OkStatus();
  scaling.type = type == "linear" ? RopeScaling::Type::kLinear : RopeScaling::Type::kLlama3;
  if (type == "linear") return absl::OkStatus();
  RATION_ASSIGN_OR_RETURN(scaling.low_freq_factor, rope.Double("low_freq_factor", 1e-6, 1e5));
  RATION_ASSIGN_OR_RETURN(scaling.high_freq_factor, rope.Double("high_freq_factor", 1e-6, 1e5));
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {  // their difference is a divisor
    return rope.Error("high_freq_factor", "must be above low_freq_factor ", scaling.low_freq_factor, ", not ",
                      scaling.high_freq_factor);
  }
  RATION_ASSIGN_OR_RETURN(scaling.original_max_position_embeddings,
                          rope.Int("original_max_position_embeddings", 1, kMaxPositions));
  return absl::OkStatus();
}

// Which layers slide: "layer_types" in newer files; in older ones every other layer, from the first.
absl::Status ParseWindows(const JsonFields& fields, ModelConfig& config) {
  RATION_ASSIGN_OR_RETURN(const int64_t window, fields.IntOr("sliding_window", 4096, 1, kMaxPositions));
  config.windows.assign(config.num_layers, 0);
  const Json* types = fields.Find("layer_types");
  if (types != nullptr && (!types->is_array() || static_cast<int64_t>(types->size()) != config.num_layers)) {
    return fields.Error("layer_types", "must be a list of ", config.num_layers, " names, not ", ShownJson(*types));
  }
  for (int64_t i = 0; i < config.num_layers; ++i) {
    bool slides = i % 2 == 0;
    if (types != nullptr) {
      const Json& type = (*types)[i];
      if (type != "sliding_attention" && type != "full_attention") {
        return fields.Error("layer_types", "must hold sliding_attention and full_attention, not ", ShownJson(type));
      }
      slides = type == "sliding_attention";
    }
    // A window as long as the context hides nothing.
    if (slides && window < config.max_positions) config.windows[i] = window;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ParseLlamaConfig(const JsonFields& fields, ModelConfig& config) {
  RATION_RETURN_IF_ERROR(CheckActivation(fields, "hidden_act", "silu", {"silu", "swish"}));
  RATION_ASSIGN_OR_RETURN(const double rotary, fields.DoubleOr("partial_rotary_factor", 1, 0, 1));
  if (rotary != 1) {
    return absl::UnimplementedError(
        absl::StrCat(fields.where(), "partial_rotary_factor: ", rotary, " is not supported (1 is)"));
  }
  RATION_RETURN_IF_ERROR(ParseCommon(fields, /*tied=*/false, config));
  RATION_ASSIGN_OR_RETURN(config.intermediate_size, fields.Int("intermediate_size", 1, kMaxIntermediateSize));
  RATION_RETURN_IF_ERROR(ParseHeads(fields, 0, config));
  RATION_RETURN_IF_ERROR(CheckPairs(fields, config));
  RATION_ASSIGN_OR_RETURN(config.max_positions, fields.IntOr("max_position_embeddings", 2048, 1, kMaxPositions));
  RATION_ASSIGN_OR_RETURN(config.norm_eps, fields.DoubleOr("rms_norm_eps", 1e-6, 0, 1));
  RATION_ASSIGN_OR_RETURN(config.attention_bias, fields.BoolOr("attention_bias", false));
  RATION_ASSIGN_OR_RETURN(config.mlp_bias, fields.BoolOr("mlp_bias", false));
  return ParseRope(fields, config);
}

absl::Status ParseOptConfig(const JsonFields& fields, ModelConfig& config) {
  RATION_RETURN_IF_ERROR(CheckActivation(fields, "activation_function", "relu", {"relu"}));
  RATION_RETURN_IF_ERROR(ParseCommon(fields, /*tied=*/true, config));
  RATION_ASSIGN_OR_RETURN(config.intermediate_size, fields.Int("ffn_dim", 1, kMaxIntermediateSize));
  RATION_ASSIGN_OR_RETURN(config.num_query_heads, fields.Int("num_attention_heads", 1, kMaxHeads));
  config.num_kv_heads = config.num_query_heads;
  if (config.hidden_size % config.num_query_heads != 0) {
    return fields.Error("num_attention_heads", "must divide hidden_size ", config.hidden_size, ", and ",
                        config.num_query_heads, " does not");
  }
  config.head_dim = config.hidden_size / config.num_query_heads;
  if (config.head_dim > kMaxHeadDim) {
    return fields.Error("num_attention_heads", "must make heads of at most ", kMaxHeadDim, ", not ", config.head_dim);
  }
  RATION_ASSIGN_OR_RETURN(config.embedding_size,
                          fields.IntOr("word_embed_proj_dim", config.hidden_size, 1, kMaxHiddenSize));
  RATION_ASSIGN_OR_RETURN(config.max_positions, fields.IntOr("max_position_embeddings", 2048, 1, kMaxPositions));
  RATION_ASSIGN_OR_RETURN(const bool norm_before, fields.BoolOr("do_layer_norm_before", true));
  RATION_ASSIGN_OR_RETURN(const bool no_final_norm, fields.BoolOr("_remove_final_layer_norm", false));
  RATION_ASSIGN_OR_RETURN(config.norm_affine, fields.BoolOr("layer_norm_elementwise_affine", true));
  RATION_ASSIGN_OR_RETURN(config.attention_bias, fields.BoolOr("enable_bias", true));
  config.mlp_bias = config.attention_bias;
  config.post_norm = !norm_before;
  config.has_final_norm = norm_before && !no_final_norm;
  config.norm_eps = 1e-5;  // LayerNorm's own; the file has no key for it
  return absl::OkStatus();
}

absl::Status ParseGemma2Config(const JsonFields& fields, ModelConfig& config) {
  RATION_RETURN_IF_ERROR(CheckActivation(fields, "hidden_activation", "gelu_pytorch_tanh", {"gelu_pytorch_tanh"}));
  RATION_RETURN_IF_ERROR(ParseCommon(fields, /*tied=*/true, config));
  RATION_ASSIGN_OR_RETURN(config.intermediate_size, fields.Int("intermediate_size", 1, kMaxIntermediateSize));
  RATION_RETURN_IF_ERROR(ParseHeads(fields, 256, config));
  RATION_RETURN_IF_ERROR(CheckPairs(fields, config));
  RATION_ASSIGN_OR_RETURN(config.max_positions, fields.IntOr("max_position_embeddings", 8192, 1, kMaxPositions));
  RATION_ASSIGN_OR_RETURN(config.norm_eps, fields.DoubleOr("rms_norm_eps", 1e-6, 0, 1));
  RATION_ASSIGN_OR_RETURN(config.attention_bias, fields.BoolOr("attention_bias", false));
  RATION_ASSIGN_OR_RETURN(config.query_pre_attn_scalar, fields.DoubleOr("query_pre_attn_scalar", 256, 1e-6, 1e6));
  // Null means no cap.
  RATION_ASSIGN_OR_RETURN(config.attention_soft_cap, fields.NumberOr("attn_logit_softcapping", 50, 0, 1e-3, 1e6));
  RATION_ASSIGN_OR_RETURN(config.logit_soft_cap, fields.NumberOr("final_logit_softcapping", 30, 0, 1e-3, 1e6));
  RATION_RETURN_IF_ERROR(ParseWindows(fields, config));
  return ParseRope(fields, config);
}

}  // namespace ration
