#include "engine/model/model_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"
#include "engine/model/json_fields.h"

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
constexpr int64_t kMaxRoutingWindow = 65536;
// A knot of the ladder says which KV fraction its ratio has; the two must agree up to rounding in the file.
constexpr double kLadderTolerance = 0.01;

absl::Status ParseArchitecture(const JsonFields& fields, ModelConfig& config) {
  constexpr absl::string_view kSupported = "LlamaForCausalLM is";
  RATION_ASSIGN_OR_RETURN(const std::string model_type, fields.StringOr("model_type", "llama"));
  const Json* architectures = fields.Find("architectures");
  if (architectures != nullptr) {
    if (!architectures->is_array() || architectures->size() != 1 || !architectures->front().is_string()) {
      return fields.Error("architectures", "must be a list of one name, not ", ShownJson(*architectures));
    }
    config.architecture = architectures->front().get<std::string>();
    if (config.architecture != "LlamaForCausalLM")
      return fields.Unsupported("architectures", config.architecture, kSupported);
  } else if (fields.Find("model_type") == nullptr) {
    return fields.Error("architectures", "is missing");
  }
  if (model_type != "llama") return fields.Unsupported("model_type", model_type, "llama is");
  config.architecture = "LlamaForCausalLM";

  RATION_ASSIGN_OR_RETURN(const std::string activation, fields.StringOr("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") return fields.Unsupported("hidden_act", activation, "silu is");
  if (fields.Find("quantization_config") != nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        fields.where(), "quantization_config: quantised weights are not supported (F32, F16 and BF16 are)"));
  }
  RATION_ASSIGN_OR_RETURN(const double rotary, fields.DoubleOr("partial_rotary_factor", 1, 0, 1));
  if (rotary != 1) {
    return absl::UnimplementedError(
        absl::StrCat(fields.where(), "partial_rotary_factor: ", rotary, " is not supported (1 is)"));
  }
  return absl::OkStatus();
}

absl::Status ParseShapes(const JsonFields& fields, ModelConfig& config) {
  RATION_ASSIGN_OR_RETURN(config.hidden_size, fields.Int("hidden_size", 1, kMaxHiddenSize));
  RATION_ASSIGN_OR_RETURN(config.intermediate_size, fields.Int("intermediate_size", 1, kMaxIntermediateSize));
  RATION_ASSIGN_OR_RETURN(config.num_layers, fields.Int("num_hidden_layers", 1, kMaxLayers));
  RATION_ASSIGN_OR_RETURN(config.num_query_heads, fields.Int("num_attention_heads", 1, kMaxHeads));
  RATION_ASSIGN_OR_RETURN(config.num_kv_heads,
                          fields.IntOr("num_key_value_heads", config.num_query_heads, 1, kMaxHeads));
  if (config.num_query_heads % config.num_kv_heads != 0) {
    return fields.Error("num_key_value_heads", "must divide num_attention_heads ", config.num_query_heads, ", and ",
                        config.num_kv_heads, " does not");
  }
  if (fields.Find("head_dim") == nullptr && config.hidden_size % config.num_query_heads != 0) {
    return fields.Error("num_attention_heads", "must divide hidden_size ", config.hidden_size,
                        " where head_dim is not given, and ", config.num_query_heads, " does not");
  }
  RATION_ASSIGN_OR_RETURN(config.head_dim,
                          fields.IntOr("head_dim", config.hidden_size / config.num_query_heads, 1, kMaxHeadDim));
  if (config.head_dim > kMaxHeadDim || config.head_dim % 2 != 0) {  // RoPE turns pairs
    return fields.Error("head_dim", "must be even and at most ", kMaxHeadDim, ", not ", config.head_dim);
  }
  RATION_ASSIGN_OR_RETURN(config.vocab_size, fields.Int("vocab_size", 1, kMaxVocabSize));
  RATION_ASSIGN_OR_RETURN(config.max_positions, fields.IntOr("max_position_embeddings", 2048, 1, kMaxPositions));
  RATION_ASSIGN_OR_RETURN(config.rms_norm_eps, fields.DoubleOr("rms_norm_eps", 1e-6, 0, 1));
  RATION_ASSIGN_OR_RETURN(config.tie_word_embeddings, fields.BoolOr("tie_word_embeddings", false));
  RATION_ASSIGN_OR_RETURN(config.attention_bias, fields.BoolOr("attention_bias", false));
  RATION_ASSIGN_OR_RETURN(config.mlp_bias, fields.BoolOr("mlp_bias", false));
  RATION_ASSIGN_OR_RETURN(config.torch_dtype, fields.StringOr("torch_dtype", "float32"));
  return absl::OkStatus();
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
  if (type != "llama3") return rope.Unsupported(type_key, type, "llama3 and default are");

  RopeScaling& scaling = config.rope_scaling;
  scaling.type = RopeScaling::Type::kLlama3;
  RATION_ASSIGN_OR_RETURN(scaling.factor, rope.Double("factor", 1, 1e5));
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

// Appends the ids of "eos_token_id", one integer or a list.
absl::Status AddEosIds(const JsonFields& fields, ModelConfig& config) {
  const Json* value = fields.Find("eos_token_id");
  if (value == nullptr) return absl::OkStatus();
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& item : list) {
    RATION_ASSIGN_OR_RETURN(const int64_t id, fields.ToInt("eos_token_id", item, 0, config.vocab_size - 1));
    config.eos_token_ids.push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status ParseTokenIds(const JsonFields& fields, const Json& object, absl::string_view generation_config_json,
                           ModelConfig& config) {
  // Absent means LlamaConfig's defaults, 1 and 2; null means there is none.
  if (!object.contains("bos_token_id")) {
    if (config.vocab_size > 1) config.bos_token_id = 1;
  } else if (fields.Find("bos_token_id") != nullptr) {
    RATION_ASSIGN_OR_RETURN(const int64_t id, fields.Int("bos_token_id", 0, config.vocab_size - 1));
    config.bos_token_id = static_cast<int32_t>(id);
  }
  if (!object.contains("eos_token_id") && config.vocab_size > 2) config.eos_token_ids.push_back(2);
  RATION_RETURN_IF_ERROR(AddEosIds(fields, config));

  if (!generation_config_json.empty()) {
    RATION_ASSIGN_OR_RETURN(const Json generation, ParseStrictJson(generation_config_json, "generation_config.json"));
    if (!generation.is_object()) return absl::InvalidArgumentError("generation_config.json: must be a JSON object");
    RATION_RETURN_IF_ERROR(AddEosIds(JsonFields(generation, "generation_config.json: "), config));
  }
  std::vector<int32_t>& ids = config.eos_token_ids;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return absl::OkStatus();
}

absl::StatusOr<Ratio> ParseRatio(const JsonFields& fields, const char* key, int num_experts) {
  const Json* value = fields.Find(key);
  if (value == nullptr) return fields.Error(key, "is missing");
  if (!value->is_string()) return fields.Error(key, "must be a ratio such as \"3:1:6\", not ", ShownJson(*value));
  absl::StatusOr<Ratio> ratio = Ratio::Parse(value->get<std::string>(), num_experts);
  if (!ratio.ok()) return fields.Error(key, ratio.status().message());
  return ratio;
}

absl::Status ParseLadder(const JsonFields& fields, MixsgaConfig& mixsga) {
  constexpr size_t kMaxKnots = 64;
  const Json* ladder = fields.Find("ladder");
  if (ladder == nullptr) return absl::OkStatus();
  if (!ladder->is_array() || ladder->size() > kMaxKnots) {
    return fields.Error("ladder", "must be a list of at most ", kMaxKnots, " knots, not ", ShownJson(*ladder));
  }
  for (size_t i = 0; i < ladder->size(); ++i) {
    const Json& item = (*ladder)[i];
    const std::string where = absl::StrCat(fields.where(), "ladder[", i, "]");
    if (!item.is_object())
      return absl::InvalidArgumentError(absl::StrCat(where, ": must be an object, not ", ShownJson(item)));
    const JsonFields knot(item, absl::StrCat(where, "."));
    RATION_RETURN_IF_ERROR(knot.OnlyKeys({"kv_fraction", "ratio"}));
    RATION_ASSIGN_OR_RETURN(const double fraction, knot.Double("kv_fraction", 0, 1));
    RATION_ASSIGN_OR_RETURN(const Ratio ratio, ParseRatio(knot, "ratio", mixsga.experts.num_experts()));
    if (i > 0 && fraction >= mixsga.ladder.back().first) {
      return knot.Error("kv_fraction", "must be below the ", mixsga.ladder.back().first, " before it, not ", fraction);
    }
    const double cost = ratio.KvFraction(mixsga.experts);
    if (std::fabs(cost - fraction) > kLadderTolerance) {
      return knot.Error("kv_fraction", "must be within ", kLadderTolerance, " of what ratio ", ratio.ToString(),
                        " keeps, ", cost, ", not ", fraction);
    }
    mixsga.ladder.emplace_back(fraction, ratio);
  }
  return absl::OkStatus();
}

absl::StatusOr<MixsgaConfig> ParseMixsga(const Json& object, int64_t num_kv_heads, const std::string& where) {
  const JsonFields fields(object, where);
  RATION_RETURN_IF_ERROR(
      fields.OnlyKeys({"group_sizes", "routing_window", "trained_ratio", "default_ratio", "ladder"}));
  MixsgaConfig mixsga;

  const Json* sizes = fields.Find("group_sizes");
  if (sizes == nullptr) return fields.Error("group_sizes", "is missing");
  if (!sizes->is_array() || sizes->empty() || sizes->size() > kMaxExperts) {
    return fields.Error("group_sizes", "must be a list of 1 to ", kMaxExperts, " integers, not ", ShownJson(*sizes));
  }
  std::vector<int> group_sizes;
  for (const Json& size : *sizes) {
    RATION_ASSIGN_OR_RETURN(const int64_t group_size, fields.ToInt("group_sizes", size, 1, num_kv_heads));
    group_sizes.push_back(static_cast<int>(group_size));
  }
  absl::StatusOr<ExpertSpec> experts = ExpertSpec::Create(group_sizes, static_cast<int>(num_kv_heads));
  if (!experts.ok()) return absl::InvalidArgumentError(absl::StrCat(where, experts.status().message()));
  mixsga.experts = *std::move(experts);

  RATION_ASSIGN_OR_RETURN(mixsga.routing_window, fields.IntOr("routing_window", 256, 1, kMaxRoutingWindow));
  const Json* trained = fields.Find("trained_ratio");
  if (trained != nullptr && *trained == "elastic") {
    mixsga.elastic = true;
  } else {
    RATION_ASSIGN_OR_RETURN(mixsga.trained_ratio, ParseRatio(fields, "trained_ratio", mixsga.experts.num_experts()));
  }
  if (fields.Find("default_ratio") == nullptr && mixsga.trained_ratio) {
    mixsga.default_ratio = *mixsga.trained_ratio;
  } else {
    RATION_ASSIGN_OR_RETURN(mixsga.default_ratio, ParseRatio(fields, "default_ratio", mixsga.experts.num_experts()));
  }
  RATION_RETURN_IF_ERROR(ParseLadder(fields, mixsga));
  return mixsga;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view config_json, absl::string_view generation_config_json) {
  RATION_ASSIGN_OR_RETURN(const Json object, ParseStrictJson(config_json, "config.json"));
  if (!object.is_object()) return absl::InvalidArgumentError("config.json: must be a JSON object");
  const JsonFields fields(object, "config.json: ");
  ModelConfig config;
  RATION_RETURN_IF_ERROR(ParseArchitecture(fields, config));
  RATION_RETURN_IF_ERROR(ParseShapes(fields, config));
  RATION_RETURN_IF_ERROR(ParseRope(fields, config));
  RATION_RETURN_IF_ERROR(ParseTokenIds(fields, object, generation_config_json, config));
  if (const Json* mixsga = fields.Find("mixsga"); mixsga != nullptr) {
    if (!mixsga->is_object()) return fields.Error("mixsga", "must be an object, not ", ShownJson(*mixsga));
    RATION_ASSIGN_OR_RETURN(config.mixsga, ParseMixsga(*mixsga, config.num_kv_heads, "config.json: mixsga."));
  }
  return config;
}

}  // namespace ration
