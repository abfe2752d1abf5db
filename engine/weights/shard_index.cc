#include "engine/weights/shard_index.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"

namespace ration {

absl::StatusOr<absl::flat_hash_map<std::string, std::string>> ParseShardIndex(absl::string_view text, const std::string& path) {
  RATION_ASSIGN_OR_RETURN(const nlohmann::json index, ParseStrictJson(text, path));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": weight_map: must be an object of tensor and file names"));
  }
  absl::flat_hash_map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": weight_map: tensor ", Quoted(tensor), ": must be a file name"));
    }
    const std::string& name = shard.get_ref<const std::string&>();
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": weight_map: tensor ", Quoted(tensor), ": ", Quoted(name),
                                                     " must be the name of a file in the same directory"));
    }
    shard_of.emplace(tensor, name);
  }
  return shard_of;
}

}  // namespace ration
