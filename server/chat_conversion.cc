#include "server/chat_conversion.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include <google/protobuf/struct.pb.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

using google::protobuf::Struct;
using jinja::Value;

absl::StatusOr<Value> FromStruct(const Struct& from);

// Recurses as deep as protobuf's parser lets messages nest (100).
absl::StatusOr<Value> FromValue(const google::protobuf::Value& from) {
  switch (from.kind_case()) {
    case google::protobuf::Value::kBoolValue:
      return Value(from.bool_value());
    case google::protobuf::Value::kNumberValue: {
      // JSON's numbers come as doubles; whole ones are ints to a template, as they were in the JSON.
      const double number = from.number_value();
      constexpr double kExact = 9007199254740992;  // 2^53
      if (number == std::floor(number) && std::fabs(number) <= kExact) return Value(static_cast<int64_t>(number));
      return Value(number);
    }
    case google::protobuf::Value::kStringValue:
      return jinja::NewString(from.string_value(), nullptr);
    case google::protobuf::Value::kListValue: {
      std::vector<Value> items;
      for (const google::protobuf::Value& item : from.list_value().values()) {
        RATION_ASSIGN_OR_RETURN(Value value, FromValue(item));
        items.push_back(std::move(value));
      }
      return jinja::NewList(std::move(items), nullptr);
    }
    case google::protobuf::Value::kStructValue:
      return FromStruct(from.struct_value());
    default:
      return Value();
  }
}

// The entries of a map, whose order on the wire is lost, by name.
std::vector<std::pair<std::string, const google::protobuf::Value*>> Sorted(const Struct& from) {
  std::vector<std::pair<std::string, const google::protobuf::Value*>> fields;
  for (const auto& [name, value] : from.fields()) fields.emplace_back(name, &value);
  std::sort(fields.begin(), fields.end());
  return fields;
}

absl::StatusOr<Value> FromStruct(const Struct& from) {
  std::vector<jinja::Dict::Entry> entries;
  for (const auto& [name, field] : Sorted(from)) {
    RATION_ASSIGN_OR_RETURN(Value key, jinja::NewString(name, nullptr));
    RATION_ASSIGN_OR_RETURN(Value value, FromValue(*field));
    entries.emplace_back(std::move(key), std::move(value));
  }
  return jinja::NewDict(std::move(entries), nullptr);
}

absl::StatusOr<jinja::Template::Variables> FromFields(const Struct& from, const std::string& path) {
  jinja::Template::Variables variables;
  for (const auto& [name, field] : Sorted(from)) {
    absl::StatusOr<Value> value = FromValue(*field);
    if (!value.ok())
      return absl::InvalidArgumentError(absl::StrCat(path, "[", Quoted(name), "]: ", value.status().message()));
    variables.emplace_back(name, *std::move(value));
  }
  return variables;
}

absl::Status CheckReserved(const Struct& fields, const std::string& path, std::initializer_list<const char*> reserved) {
  for (const char* name : reserved) {
    if (fields.fields().contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat(path, "[\"", name, "\"]: has a field of its own"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int64_t MessagesBytes(const v1::Messages& messages) { return static_cast<int64_t>(messages.ByteSizeLong()); }

absl::Status CheckMessages(const v1::Messages& messages, const RequestLimits& limits) {
  const int64_t count = messages.messages_size();
  if (count == 0) return absl::InvalidArgumentError("messages.messages: must not be empty");
  if (count > limits.max_messages) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages.messages: must have at most ", limits.max_messages, " entries, not ", count));
  }
  int64_t bytes = static_cast<int64_t>(messages.template_variables().ByteSizeLong());
  if (bytes > limits.max_prompt_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("messages.template_variables: must have at most ",
                                                   limits.max_prompt_bytes, " bytes, not ", bytes));
  }
  RATION_RETURN_IF_ERROR(CheckReserved(messages.template_variables(), "messages.template_variables",
                                       {"messages", "add_generation_prompt"}));
  for (int i = 0; i < messages.messages_size(); ++i) {
    const v1::ChatMessage& message = messages.messages(i);
    const std::string path = absl::StrCat("messages.messages[", i, "]");
    if (message.role().empty()) return absl::InvalidArgumentError(absl::StrCat(path, ".role: must not be empty"));
    RATION_RETURN_IF_ERROR(CheckTextLength(absl::StrCat(path, ".content"), message.content(), limits));
    RATION_RETURN_IF_ERROR(CheckReserved(message.extra(), path + ".extra", {"role", "content", "name"}));
    bytes += static_cast<int64_t>(message.ByteSizeLong());
    if (bytes > limits.max_prompt_bytes) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": with it the messages have ", bytes,
                                                     " bytes; together they must have at most ",
                                                     limits.max_prompt_bytes));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Conversation> ToConversation(const v1::Messages& messages) {
  Conversation conversation;
  for (int i = 0; i < messages.messages_size(); ++i) {
    const v1::ChatMessage& from = messages.messages(i);
    ChatMessage message{from.role(), from.content(), std::nullopt, {}};
    if (from.has_name()) message.name = from.name();
    RATION_ASSIGN_OR_RETURN(message.extra, FromFields(from.extra(), absl::StrCat("messages.messages[", i, "].extra")));
    conversation.messages.push_back(std::move(message));
  }
  conversation.add_generation_prompt = !messages.has_add_generation_prompt() || messages.add_generation_prompt();
  RATION_ASSIGN_OR_RETURN(conversation.variables,
                          FromFields(messages.template_variables(), "messages.template_variables"));
  return conversation;
}

absl::StatusOr<std::string> RenderMessages(const v1::Messages& messages, const ModelView& model,
                                           const RequestLimits& limits) {
  if (model.chat_template == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("messages: this model is served without a chat template, so send the prompt as text (",
                     model.no_chat_template_reason, ")"));
  }
  RATION_ASSIGN_OR_RETURN(const Conversation conversation, ToConversation(messages));
  absl::StatusOr<std::string> text = model.chat_template->Render(conversation, limits.max_prompt_bytes, absl::Now());
  if (!text.ok()) return absl::Status(text.status().code(), absl::StrCat("messages: ", text.status().message()));
  return text;
}

absl::StatusOr<std::vector<int32_t>> EncodeRendered(absl::string_view text, bool add_special_tokens,
                                                    const ModelView& model) {
  absl::StatusOr<std::vector<int32_t>> ids = model.tokenizer->Encode(text, add_special_tokens);
  if (!ids.ok()) return absl::Status(ids.status().code(), absl::StrCat("messages: rendered ", ids.status().message()));
  return ids;
}

}  // namespace ration
