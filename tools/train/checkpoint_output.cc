#include "tools/train/checkpoint_output.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/weights/safetensors_writer.h"
#include "nlohmann/json.hpp"

namespace ration {
namespace {

absl::Status WriteFile(const std::filesystem::path& path, const std::string& text) {
  const std::filesystem::path partial = path.string() + ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  std::error_code error;
  if (out) std::filesystem::rename(partial, path, error);
  if (!out || error) return absl::InternalError(absl::StrCat(path.string(), ": cannot be written"));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return absl::NotFoundError(absl::StrCat(path.string(), ": cannot be read"));
  return text.str();
}

}  // namespace

absl::Status WriteModelDirectory(const LlamaWeights& weights, const std::string& base_directory,
                                 const std::string& directory) {
  const std::filesystem::path base = base_directory, target = directory;
  std::error_code error;
  std::filesystem::create_directories(target, error);
  if (error) return absl::InternalError(absl::StrCat(directory, ": cannot be made: ", error.message()));

  RATION_ASSIGN_OR_RETURN(const std::string base_config, ReadFile(base / "config.json"));
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(base_config, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object())
    return absl::InvalidArgumentError(absl::StrCat(base_directory, "/config.json: is not a JSON object"));
  config["torch_dtype"] = "float32";
  if (weights.config.mixsga) {
    const MixsgaConfig& mixsga = *weights.config.mixsga;
    nlohmann::ordered_json object;
    object["group_sizes"] = mixsga.experts.group_sizes();
    object["routing_window"] = mixsga.routing_window;
    object["trained_ratio"] = mixsga.elastic || !mixsga.trained_ratio ? "elastic" : mixsga.trained_ratio->ToString();
    object["default_ratio"] = mixsga.default_ratio.ToString();
    for (const auto& [fraction, ratio] : mixsga.ladder) {
      object["ladder"].push_back({{"kv_fraction", fraction}, {"ratio", ratio.ToString()}});
    }
    config["mixsga"] = object;
  }

  absl::btree_map<std::string, at::Tensor> tensors;
  for (const auto& [name, tensor] : weights.Named()) tensors.emplace(name, tensor.detach());
  RATION_RETURN_IF_ERROR(WriteSafetensors((target / "model.safetensors").string(), tensors));
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json"}) {
    if (!std::filesystem::exists(base / name, error)) continue;
    RATION_ASSIGN_OR_RETURN(const std::string text, ReadFile(base / name));
    RATION_RETURN_IF_ERROR(WriteFile(target / name, text));
  }
  return WriteFile(target / "config.json", config.dump(2) + "\n");
}

}  // namespace ration
