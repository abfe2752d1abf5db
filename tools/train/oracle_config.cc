#include "tools/train/oracle_config.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"
#include "engine/model/json_fields.h"

namespace ration {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxSize = int64_t{1} << 24;  // of any shape; a product of two does not overflow
constexpr double kOptNormEps = 1e-5;            // torch.nn.LayerNorm's own; OPT's config.json does not say

absl::StatusOr<OracleFamily> ParseFamily(const JsonFields& fields) {
  const Json* list = fields.Find("architectures");
  if (list == nullptr || !list->is_array() || list->size() != 1 || !list->front().is_string()) {
    return fields.Error("architectures", "must be a list of one name");
  }
  const std::string name = list->front().get<std::string>();
  if (name == "LlamaForCausalLM") return OracleFamily::kLlama;
  if (name == "OPTForCausalLM") return OracleFamily::kOpt;
  if (name == "Gemma2ForCausalLM") return OracleFamily::kGemma2;
  return fields.Unsupported("architectures", name, "LlamaForCausalLM, OPTForCausalLM and Gemma2ForCausalLM are");
}

absl::Status ParseRope(const JsonFields& fields, OracleConfig& config) {
  RopeRule& rope = config.rope;
  RATION_ASSIGN_OR_RETURN(rope.theta, fields.DoubleOr("rope_theta", 10000, 1, 1e12));
  const Json* value = fields.Find("rope_scaling");
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_object()) return fields.Error("rope_scaling", "must be an object, not ", ShownJson(*value));
  const JsonFields scaling(*value, absl::StrCat(fields.where(), "rope_scaling."));
  const char* const key = scaling.Find("rope_type") != nullptr ? "rope_type" : "type";  // "type" in older files
  RATION_ASSIGN_OR_RETURN(const std::string type, scaling.StringOr(key, ""));
  if (type == "default") return absl::OkStatus();
  if (type == "linear") {
    rope.type = RopeRule::Type::kLinear;
  } else if (type == "dynamic") {
    rope.type = RopeRule::Type::kDynamic;
    rope.original_positions = config.max_positions;
  } else if (type == "llama3") {
    rope.type = RopeRule::Type::kLlama3;
    RATION_ASSIGN_OR_RETURN(rope.low_freq_factor, scaling.Double("low_freq_factor", 1e-6, 1e5));
    RATION_ASSIGN_OR_RETURN(rope.high_freq_factor, scaling.Double("high_freq_factor", 1e-6, 1e5));
    RATION_ASSIGN_OR_RETURN(rope.original_positions, scaling.Int("original_max_position_embeddings", 1, kMaxSize));
    if (rope.high_freq_factor <= rope.low_freq_factor) {
      return scaling.Error("high_freq_factor", "must be above low_freq_factor");
    }
  } else {
    return scaling.Unsupported(key, type, "linear, dynamic, llama3 and default are");
  }
  RATION_ASSIGN_OR_RETURN(rope.factor, scaling.Double("factor", 1, 1e5));
  return absl::OkStatus();
}

// What Llama and Gemma-2 share. The defaults are those of the family's configuration class.
absl::Status ParseGated(const JsonFields& fields, OracleConfig& config) {
  const bool gemma = config.family == OracleFamily::kGemma2;
  RATION_ASSIGN_OR_RETURN(config.ffn_size, fields.Int("intermediate_size", 1, kMaxSize));
  RATION_ASSIGN_OR_RETURN(config.num_kv_heads,
                          fields.IntOr("num_key_value_heads", gemma ? 4 : config.num_query_heads, 1, kMaxSize));
  RATION_ASSIGN_OR_RETURN(
      config.head_dim,
      fields.IntOr("head_dim", gemma ? 256 : config.hidden_size / config.num_query_heads, 1, kMaxSize));
  if (config.num_query_heads % config.num_kv_heads != 0) {
    return fields.Error("num_key_value_heads", "must divide num_attention_heads ", config.num_query_heads);
  }
  if (config.head_dim < 2 || config.head_dim % 2 != 0) {
    return fields.Error("head_dim", "must be even and positive, not ", config.head_dim);
  }
  RATION_ASSIGN_OR_RETURN(config.max_positions,
                          fields.IntOr("max_position_embeddings", gemma ? 8192 : 2048, 1, kMaxSize));
  RATION_ASSIGN_OR_RETURN(config.norm_eps, fields.DoubleOr("rms_norm_eps", 1e-6, 0, 1));
  RATION_ASSIGN_OR_RETURN(config.tied, fields.BoolOr("tie_word_embeddings", gemma));
  RATION_ASSIGN_OR_RETURN(config.attention_bias, fields.BoolOr("attention_bias", false));
  return ParseRope(fields, config);
}

absl::Status ParseLlama(const JsonFields& fields, OracleConfig& config) {
  RATION_RETURN_IF_ERROR(ParseGated(fields, config));
  RATION_ASSIGN_OR_RETURN(config.mlp_bias, fields.BoolOr("mlp_bias", false));
  RATION_ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") return fields.Unsupported("hidden_act", activation, "silu is");
  return absl::OkStatus();
}

absl::Status ParseGemma2(const JsonFields& fields, const Json& object, OracleConfig& config) {
  RATION_RETURN_IF_ERROR(ParseGated(fields, config));
  Gemma2Rules& rules = config.gemma2;
  RATION_ASSIGN_OR_RETURN(rules.query_scalar, fields.DoubleOr("query_pre_attn_scalar", 256, 1e-6, 1e6));
  // An absent cap or window has a default; null is none.
  const auto zero_if_null = [&](const char* key, auto otherwise) { return object.contains(key) ? 0 : otherwise; };
  RATION_ASSIGN_OR_RETURN(
      rules.attention_cap,
      fields.DoubleOr("attn_logit_softcapping", zero_if_null("attn_logit_softcapping", 50.0), 1e-6, 1e6));
  RATION_ASSIGN_OR_RETURN(rules.final_cap, fields.DoubleOr("final_logit_softcapping",
                                                           zero_if_null("final_logit_softcapping", 30.0), 1e-6, 1e6));
  RATION_ASSIGN_OR_RETURN(rules.window,
                          fields.IntOr("sliding_window", zero_if_null("sliding_window", int64_t{4096}), 1, kMaxSize));
  RATION_ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("hidden_activation", "gelu_pytorch_tanh"));
  if (activation != "gelu_pytorch_tanh") {
    return fields.Unsupported("hidden_activation", activation, "gelu_pytorch_tanh is");
  }
  // Newer files list what older ones leave to the rule that the even layers slide.
  const Json* types = fields.Find("layer_types");
  if (types == nullptr) return absl::OkStatus();
  bool alternate = types->is_array() && static_cast<int64_t>(types->size()) == config.num_layers;
  for (size_t i = 0; alternate && i < types->size(); ++i) {
    alternate = (*types)[i] == (i % 2 == 0 ? "sliding_attention" : "full_attention");
  }
  if (!alternate) return fields.Unsupported("layer_types", types->dump(), "sliding and full attention in turn are");
  return absl::OkStatus();
}

absl::Status ParseOpt(const JsonFields& fields, OracleConfig& config) {
  OptRules& rules = config.opt;
  RATION_ASSIGN_OR_RETURN(config.ffn_size, fields.IntOr("ffn_dim", 3072, 1, kMaxSize));
  config.num_kv_heads = config.num_query_heads;
  config.head_dim = config.hidden_size / config.num_query_heads;
  if (config.hidden_size % config.num_query_heads != 0) {
    return fields.Error("num_attention_heads", "must divide hidden_size ", config.hidden_size);
  }
  RATION_ASSIGN_OR_RETURN(config.max_positions, fields.IntOr("max_position_embeddings", 2048, 1, kMaxSize));
  config.norm_eps = kOptNormEps;
  RATION_ASSIGN_OR_RETURN(config.tied, fields.BoolOr("tie_word_embeddings", true));
  RATION_ASSIGN_OR_RETURN(rules.embed_size, fields.IntOr("word_embed_proj_dim", config.hidden_size, 1, kMaxSize));
  RATION_ASSIGN_OR_RETURN(rules.norm_before, fields.BoolOr("do_layer_norm_before", true));
  RATION_ASSIGN_OR_RETURN(const bool remove_final_norm, fields.BoolOr("_remove_final_layer_norm", false));
  rules.final_norm = rules.norm_before && !remove_final_norm;
  RATION_ASSIGN_OR_RETURN(rules.norm_affine, fields.BoolOr("layer_norm_elementwise_affine", true));
  RATION_ASSIGN_OR_RETURN(rules.bias, fields.BoolOr("enable_bias", true));
  RATION_ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("activation_function", "relu"));
  if (activation == "relu") {
    rules.activation = OptRules::Activation::kRelu;
  } else if (activation == "gelu") {
    rules.activation = OptRules::Activation::kGelu;
  } else if (activation == "gelu_new" || activation == "gelu_pytorch_tanh") {
    rules.activation = OptRules::Activation::kGeluTanh;
  } else {
    return fields.Unsupported("activation_function", activation, "relu, gelu, gelu_new and gelu_pytorch_tanh are");
  }
  return absl::OkStatus();
}

absl::StatusOr<OracleRouting> ParseRouting(const Json& object, int64_t num_kv_heads) {
  const JsonFields fields(object, "config.json: mixsga.");
  OracleRouting routing;
  const Json* sizes = fields.Find("group_sizes");
  if (sizes == nullptr || !sizes->is_array() || sizes->size() > kMaxExperts) {
    return fields.Error("group_sizes", "must be a list of at most ", kMaxExperts, " integers");
  }
  std::vector<int> group_sizes;
  for (const Json& size : *sizes) {
    RATION_ASSIGN_OR_RETURN(const int64_t group_size, fields.ToInt("group_sizes", size, 1, num_kv_heads));
    group_sizes.push_back(static_cast<int>(group_size));
  }
  absl::StatusOr<ExpertSpec> experts = ExpertSpec::Create(group_sizes, static_cast<int>(num_kv_heads));
  if (!experts.ok()) return fields.Error("group_sizes", experts.status().message());
  routing.experts = *std::move(experts);
  RATION_ASSIGN_OR_RETURN(routing.window, fields.IntOr("routing_window", 256, 1, 65536));
  RATION_ASSIGN_OR_RETURN(const std::string trained, fields.StringOr("trained_ratio", "elastic"));
  RATION_ASSIGN_OR_RETURN(const std::string ratio, fields.StringOr("default_ratio", trained));
  absl::StatusOr<Ratio> parsed = Ratio::Parse(ratio, routing.experts.num_experts());
  if (!parsed.ok()) return fields.Error("default_ratio", parsed.status().message());
  routing.default_ratio = *parsed;
  return routing;
}

}  // namespace

int64_t OracleConfig::max_length() const {
  const bool stretches = family != OracleFamily::kOpt && rope.type == RopeRule::Type::kDynamic;
  return stretches ? static_cast<int64_t>(max_positions * rope.factor) : max_positions;
}

absl::StatusOr<OracleConfig> ParseOracleConfig(absl::string_view config_json) {
  RATION_ASSIGN_OR_RETURN(const Json object, ParseStrictJson(config_json, "config.json"));
  if (!object.is_object()) return absl::InvalidArgumentError("config.json: must be a JSON object");
  const JsonFields fields(object, "config.json: ");
  OracleConfig config;
  RATION_ASSIGN_OR_RETURN(config.family, ParseFamily(fields));
  RATION_ASSIGN_OR_RETURN(config.hidden_size, fields.Int("hidden_size", 1, kMaxSize));
  RATION_ASSIGN_OR_RETURN(config.num_layers, fields.Int("num_hidden_layers", 1, 4096));
  RATION_ASSIGN_OR_RETURN(config.num_query_heads, fields.Int("num_attention_heads", 1, kMaxSize));
  RATION_ASSIGN_OR_RETURN(config.vocab_size, fields.Int("vocab_size", 1, kMaxSize));
  switch (config.family) {
    case OracleFamily::kLlama:
      RATION_RETURN_IF_ERROR(ParseLlama(fields, config));
      break;
    case OracleFamily::kOpt:
      RATION_RETURN_IF_ERROR(ParseOpt(fields, config));
      break;
    case OracleFamily::kGemma2:
      RATION_RETURN_IF_ERROR(ParseGemma2(fields, object, config));
      break;
  }
  if (const Json* mixsga = fields.Find("mixsga"); mixsga != nullptr) {
    if (!mixsga->is_object()) return fields.Error("mixsga", "must be an object, not ", ShownJson(*mixsga));
    RATION_ASSIGN_OR_RETURN(config.routing, ParseRouting(*mixsga, config.num_kv_heads));
  }
  return config;
}

}  // namespace ration
