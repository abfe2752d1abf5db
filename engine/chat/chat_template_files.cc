#include "engine/chat/chat_template_files.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"

namespace ration {
namespace {

using Json = nlohmann::json;

// tokenizer_config.json lists added tokens: some hundred kilobytes in practice.
constexpr size_t kMaxFileBytes = 16 << 20;

// The file's content; nullopt if there is none.
absl::StatusOr<std::optional<std::string>> ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    if (errno == ENOENT) return std::nullopt;
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be opened: ", std::strerror(errno)));
  }
  std::string content(kMaxFileBytes + 1, '\0');
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (file.bad()) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  content.resize(static_cast<size_t>(file.gcount()));
  if (content.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has more than ", kMaxFileBytes, " bytes"));
  }
  return content;
}

// An object of the directory; an empty one if the file is not there.
absl::StatusOr<Json> ReadObject(const std::string& path) {
  RATION_ASSIGN_OR_RETURN(const std::optional<std::string> content, ReadFile(path));
  if (!content.has_value()) return Json::object();
  RATION_ASSIGN_OR_RETURN(Json object, ParseStrictJson(*content, path));
  if (!object.is_object())
    return absl::InvalidArgumentError(absl::StrCat(path, ": must be an object, not ", object.type_name()));
  return object;
}

// A token as these files write it: its text, or an object with it; nullopt for anything else.
std::optional<std::string> TokenText(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && token.contains("content") && token["content"].is_string())
    return token["content"].get<std::string>();
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> SpecialTokens(const Json& config, const Json& map) {
  std::vector<std::pair<std::string, std::string>> tokens;
  for (const char* name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const Json& source = config.contains(name) ? config : map;
    if (!source.contains(name)) continue;
    if (std::optional<std::string> text = TokenText(source[name])) tokens.emplace_back(name, *std::move(text));
  }
  return tokens;
}

// The template in tokenizer_config.json; nullopt if there is none.
absl::StatusOr<std::optional<std::string>> TemplateIn(const Json& config, const std::string& path) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": chat_template: must be a string or an array, not ", found->type_name()));
  }
  for (const Json& entry : *found) {
    if (!entry.is_object() || !entry.contains("name") || entry["name"] != "default") continue;
    if (!entry.contains("template") || !entry["template"].is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": chat_template: the one named \"default\" has no template"));
    }
    return entry["template"].get<std::string>();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": chat_template: none of ", found->size(), " is named \"default\""));
}

}  // namespace

absl::StatusOr<std::unique_ptr<const ChatTemplate>> LoadChatTemplate(const std::string& directory) {
  const std::string config_path = absl::StrCat(directory, "/tokenizer_config.json");
  RATION_ASSIGN_OR_RETURN(std::optional<std::string> source, ReadFile(absl::StrCat(directory, "/chat_template.jinja")));
  RATION_ASSIGN_OR_RETURN(const Json config, ReadObject(config_path));
  if (!source.has_value()) {
    RATION_ASSIGN_OR_RETURN(source, TemplateIn(config, config_path));
  }
  if (!source.has_value()) {
    return absl::NotFoundError("neither chat_template.jinja nor \"chat_template\" in tokenizer_config.json");
  }
  RATION_ASSIGN_OR_RETURN(const Json map, ReadObject(absl::StrCat(directory, "/special_tokens_map.json")));
  return ChatTemplate::Parse(*source, "chat_template", SpecialTokens(config, map));
}

}  // namespace ration
