// JSON as values of a template, for tests: the order of keys is kept.
// Layer: tests/engine/chat. Stateless.
#ifndef RATION_TESTS_ENGINE_CHAT_JSON_VALUE_H_
#define RATION_TESTS_ENGINE_CHAT_JSON_VALUE_H_

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/chat/chat_template.h"
#include "engine/chat/jinja/value.h"

namespace ration {

// REQUIRES: nests less deep than jinja::kMaxValueDepth.
jinja::Value ToValue(const nlohmann::ordered_json& json);

// "messages", "add_generation_prompt" (default true) and "variables" of an object.
Conversation ToConversation(const nlohmann::ordered_json& json);

// 2024-07-26 10:05:00 in the local time zone: what the golden texts were made with.
absl::Time GoldenTime();

// Renders `template_text` for one case of a golden file, with its "special_tokens".
absl::StatusOr<std::string> RenderCase(const std::string& template_text, const nlohmann::ordered_json& conversation);

}  // namespace ration

#endif  // RATION_TESTS_ENGINE_CHAT_JSON_VALUE_H_
