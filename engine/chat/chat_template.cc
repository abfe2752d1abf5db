#include "engine/chat/chat_template.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

using jinja::NewDict;
using jinja::NewList;
using jinja::NewString;
using jinja::Value;

absl::StatusOr<Value> MessageValue(const ChatMessage& message) {
  std::vector<jinja::Dict::Entry> entries;
  const auto add = [&entries](absl::string_view name, Value value) -> absl::Status {
    RATION_ASSIGN_OR_RETURN(Value key, NewString(std::string(name), nullptr));
    entries.emplace_back(std::move(key), std::move(value));
    return absl::OkStatus();
  };
  RATION_ASSIGN_OR_RETURN(Value role, NewString(message.role, nullptr));
  RATION_RETURN_IF_ERROR(add("role", std::move(role)));
  RATION_ASSIGN_OR_RETURN(Value content, NewString(message.content, nullptr));
  RATION_RETURN_IF_ERROR(add("content", std::move(content)));
  if (message.name.has_value()) {
    RATION_ASSIGN_OR_RETURN(Value name, NewString(*message.name, nullptr));
    RATION_RETURN_IF_ERROR(add("name", std::move(name)));
  }
  for (const auto& [name, value] : message.extra) RATION_RETURN_IF_ERROR(add(name, value));
  return NewDict(std::move(entries), nullptr);
}

}  // namespace

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Parse(
    absl::string_view source, std::string name, std::vector<std::pair<std::string, std::string>> variables) {
  RATION_ASSIGN_OR_RETURN(std::unique_ptr<const jinja::Template> parsed,
                          jinja::Template::Parse(source, std::move(name)));
  jinja::Template::Variables values = {{"tools", Value()}, {"documents", Value()}};
  for (auto& [variable, text] : variables) {
    RATION_ASSIGN_OR_RETURN(Value value, NewString(std::move(text), nullptr));
    values.emplace_back(std::move(variable), std::move(value));
  }
  return std::unique_ptr<const ChatTemplate>(new ChatTemplate(std::move(parsed), std::move(values)));
}

absl::StatusOr<std::string> ChatTemplate::Render(const Conversation& conversation, int64_t max_bytes,
                                                 absl::Time now) const {
  std::vector<Value> messages;
  for (const ChatMessage& message : conversation.messages) {
    RATION_ASSIGN_OR_RETURN(Value value, MessageValue(message));
    messages.push_back(std::move(value));
  }
  RATION_ASSIGN_OR_RETURN(Value list, NewList(std::move(messages), nullptr));
  jinja::Template::Variables variables = variables_;
  variables.insert(variables.end(), conversation.variables.begin(), conversation.variables.end());
  variables.emplace_back("messages", std::move(list));
  variables.emplace_back("add_generation_prompt", Value(conversation.add_generation_prompt));
  jinja::RenderLimits limits;
  limits.output_bytes = max_bytes;
  absl::StatusOr<std::string> text = template_->Render(variables, now, limits);
  if (absl::IsAborted(text.status())) {
    return absl::InvalidArgumentError(
        absl::StrCat(text.status().message(), " (the chat template refuses the conversation)"));
  }
  return text;
}

}  // namespace ration
