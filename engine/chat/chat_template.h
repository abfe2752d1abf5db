// From a conversation to the prompt's text, by the chat template of a model directory.
// Layer: engine/chat. Immutable; thread-safe: rendering happens on whichever thread asks.
#ifndef RATION_ENGINE_CHAT_CHAT_TEMPLATE_H_
#define RATION_ENGINE_CHAT_CHAT_TEMPLATE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/chat/jinja/template.h"
#include "engine/chat/jinja/value.h"

namespace ration {

struct ChatMessage {
  std::string role;
  std::string content;
  std::optional<std::string> name;
  // Further keys of the message, as the template sees them.
  std::vector<std::pair<std::string, jinja::Value>> extra;
};

struct Conversation {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  // Further variables. They hide those of the directory (bos_token, ...) and `tools` and `documents`, which are none.
  jinja::Template::Variables variables;
};

class ChatTemplate {
 public:
  // `variables` are those of the directory: bos_token, eos_token, ... Errors begin with `name`, line and column.
  static absl::StatusOr<std::unique_ptr<const ChatTemplate>> Parse(
      absl::string_view source, std::string name, std::vector<std::pair<std::string, std::string>> variables = {});

  // InvalidArgument with the template's own message if it refuses the conversation (raise_exception), or with line,
  // column and reason if it cannot be rendered, takes too long, or would give more than `max_bytes`.
  absl::StatusOr<std::string> Render(const Conversation& conversation, int64_t max_bytes, absl::Time now) const;

 private:
  ChatTemplate(std::unique_ptr<const jinja::Template> parsed, jinja::Template::Variables variables)
      : template_(std::move(parsed)), variables_(std::move(variables)) {}

  const std::unique_ptr<const jinja::Template> template_;
  const jinja::Template::Variables variables_;
};

}  // namespace ration

#endif  // RATION_ENGINE_CHAT_CHAT_TEMPLATE_H_
