#include "engine/model/model_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"
#include "engine/model/family_config.h"
#include "engine/model/json_fields.h"

namespace ration {
namespace {

using Json = nlohmann::json;

struct FamilyNames {
  ModelFamily family;
  const char* name;
  const char* architecture;
  const char* model_type;
};
constexpr FamilyNames kFamilies[] = {
    {ModelFamily::kLlama, "Llama", "LlamaForCausalLM", "llama"},
    {ModelFamily::kOpt, "OPT", "OPTForCausalLM", "opt"},
    {ModelFamily::kGemma2, "Gemma-2", "Gemma2ForCausalLM", "gemma2"},
};

absl::Status ParseArchitecture(const JsonFields& fields, ModelConfig& config) {
  const FamilyNames* family = nullptr;
  const Json* architectures = fields.Find("architectures");
  if (architectures != nullptr) {
    if (!architectures->is_array() || architectures->size() != 1 || !architectures->front().is_string()) {
      return fields.Error("architectures", "must be a list of one name, not ", ShownJson(*architectures));
    }
    const std::string name = architectures->front().get<std::string>();
    for (const FamilyNames& known : kFamilies) {
      if (name == known.architecture) family = &known;
    }
    if (family == nullptr) {
      return fields.Unsupported("architectures", name, "LlamaForCausalLM, OPTForCausalLM and Gemma2ForCausalLM are");
    }
  } else if (fields.Find("model_type") == nullptr) {
    return fields.Error("architectures", "is missing");
  }
  if (fields.Find("model_type") != nullptr) {
    RATION_ASSIGN_OR_RETURN(const std::string type, fields.StringOr("model_type", ""));
    const FamilyNames* of_type = nullptr;
    for (const FamilyNames& known : kFamilies) {
      if (type == known.model_type) of_type = &known;
    }
    if (of_type == nullptr) return fields.Unsupported("model_type", type, "llama, opt and gemma2 are");
    if (family != nullptr && family != of_type) {
      return fields.Error("model_type", "must be ", family->model_type, " for the architecture ", family->architecture, ", not ", type);
    }
    family = of_type;
  }
  config.family = family->family;
  config.architecture = family->architecture;
  if (fields.Find("quantization_config") != nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        fields.where(), "quantization_config: quantised weights are not supported (F32, F16 and BF16 are)"));
  }
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
  // Absent means the family's defaults; null means there is none.
  const int32_t bos = config.family == ModelFamily::kLlama ? 1 : 2;
  const int32_t eos = config.family == ModelFamily::kGemma2 ? 1 : 2;
  if (!object.contains("bos_token_id")) {
    if (config.vocab_size > bos) config.bos_token_id = bos;
  } else if (fields.Find("bos_token_id") != nullptr) {
    RATION_ASSIGN_OR_RETURN(const int64_t id, fields.Int("bos_token_id", 0, config.vocab_size - 1));
    config.bos_token_id = static_cast<int32_t>(id);
  }
  if (!object.contains("eos_token_id") && config.vocab_size > eos) config.eos_token_ids.push_back(eos);
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

}  // namespace

const char* Name(ModelFamily family) {
  for (const FamilyNames& known : kFamilies) {
    if (known.family == family) return known.name;
  }
  return "";
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view config_json, absl::string_view generation_config_json) {
  RATION_ASSIGN_OR_RETURN(const Json object, ParseStrictJson(config_json, "config.json"));
  if (!object.is_object()) return absl::InvalidArgumentError("config.json: must be a JSON object");
  const JsonFields fields(object, "config.json: ");
  ModelConfig config;
  RATION_RETURN_IF_ERROR(ParseArchitecture(fields, config));
  switch (config.family) {
    case ModelFamily::kLlama:
      RATION_RETURN_IF_ERROR(ParseLlamaConfig(fields, config));
      break;
    case ModelFamily::kOpt:
      RATION_RETURN_IF_ERROR(ParseOptConfig(fields, config));
      break;
    case ModelFamily::kGemma2:
      RATION_RETURN_IF_ERROR(ParseGemma2Config(fields, config));
      break;
  }
  RATION_RETURN_IF_ERROR(ParseTokenIds(fields, object, generation_config_json, config));
  if (const Json* mixsga = fields.Find("mixsga"); mixsga != nullptr) {
    if (!mixsga->is_object()) return fields.Error("mixsga", "must be an object, not ", ShownJson(*mixsga));
    RATION_ASSIGN_OR_RETURN(config.mixsga, ParseMixsga(*mixsga, config.num_kv_heads, "config.json: mixsga."));
  }
  return config;
}

}  // namespace ration
