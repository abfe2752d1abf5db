// Finds the chat template of a model directory, and the texts of its special tokens.
// Layer: engine/chat. Stateless; thread-safe.
#ifndef RATION_ENGINE_CHAT_CHAT_TEMPLATE_FILES_H_
#define RATION_ENGINE_CHAT_CHAT_TEMPLATE_FILES_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/chat/chat_template.h"

namespace ration {

// The template is chat_template.jinja, else "chat_template" of tokenizer_config.json (of several the one named
// "default"); bos_token, eos_token and so on come from tokenizer_config.json, and where it is silent from
// special_tokens_map.json. NotFound if the directory has no template; InvalidArgument names the file and what is wrong
// with it.
absl::StatusOr<std::unique_ptr<const ChatTemplate>> LoadChatTemplate(const std::string& directory);

}  // namespace ration

#endif  // RATION_ENGINE_CHAT_CHAT_TEMPLATE_FILES_H_
