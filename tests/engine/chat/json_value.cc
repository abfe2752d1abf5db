#include "tests/engine/chat/json_value.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/time/civil_time.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ration {

using Json = nlohmann::ordered_json;
using jinja::Value;

Value ToValue(const Json& json) {
  absl::StatusOr<Value> value = Value();
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_integer()) return Value(json.get<int64_t>());
  if (json.is_number()) return Value(json.get<double>());
  if (json.is_string()) value = jinja::NewString(json.get<std::string>(), nullptr);
  if (json.is_array()) {
    std::vector<Value> items;
    for (const Json& item : json) items.push_back(ToValue(item));
    value = jinja::NewList(std::move(items), nullptr);
  }
  if (json.is_object()) {
    std::vector<jinja::Dict::Entry> entries;
    for (const auto& [key, item] : json.items()) {
      entries.emplace_back(*jinja::NewString(key, nullptr), ToValue(item));
    }
    value = jinja::NewDict(std::move(entries), nullptr);
  }
  RATION_CHECK(value.ok());
  return *std::move(value);
}

Conversation ToConversation(const Json& json) {
  Conversation conversation;
  for (const Json& from : json.value("messages", Json::array())) {
    ChatMessage message;
    for (const auto& [key, value] : from.items()) {
      if (key == "role" && value.is_string()) {
        message.role = value.get<std::string>();
      } else if (key == "content" && value.is_string()) {
        message.content = value.get<std::string>();
      } else {
        message.extra.emplace_back(key, ToValue(value));
      }
    }
    conversation.messages.push_back(std::move(message));
  }
  conversation.add_generation_prompt = json.value("add_generation_prompt", true);
  const Json variables = json.value("variables", Json::object());
  for (const auto& [name, value] : variables.items()) conversation.variables.emplace_back(name, ToValue(value));
  return conversation;
}

absl::Time GoldenTime() { return absl::FromCivil(absl::CivilSecond(2024, 7, 26, 10, 5, 0), absl::LocalTimeZone()); }

absl::StatusOr<std::string> RenderCase(const std::string& template_text, const Json& conversation) {
  std::vector<std::pair<std::string, std::string>> tokens;
  const Json special_tokens = conversation.value("special_tokens", Json::object());
  for (const auto& [name, value] : special_tokens.items()) tokens.emplace_back(name, value.get<std::string>());
  RATION_ASSIGN_OR_RETURN(const std::unique_ptr<const ChatTemplate> parsed,
                          ChatTemplate::Parse(template_text, "chat_template", std::move(tokens)));
  return parsed->Render(ToConversation(conversation), int64_t{1} << 22, GoldenTime());
}

}  // namespace ration
