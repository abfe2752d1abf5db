// Values as text: str(), repr() and json.dumps() of Python.
// Layer: engine/chat/jinja. Stateless; thread-safe.
#ifndef RATION_ENGINE_CHAT_JINJA_VALUE_TEXT_H_
#define RATION_ENGINE_CHAT_JINJA_VALUE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

// Appends what {{ value }} prints: undefined is nothing. InvalidArgument if `text` would grow beyond `max_bytes`
// (values may share parts and print far longer than they are), or for what has no text (namespaces, functions).
absl::Status AppendText(const Value& value, int64_t max_bytes, std::string& text);

// The text alone, within the budget's memory.
absl::StatusOr<std::string> ToText(const Value& value, RenderBudget& budget);

struct JsonOptions {
  std::optional<int64_t> indent;  // absent: on one line
  bool sort_keys = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// Like AppendText. Non-ASCII characters stay as they are; < > & ' are not escaped.
absl::Status AppendJson(const Value& value, const JsonOptions& options, int64_t max_bytes, std::string& text);

// repr() of a float: the shortest digits that read back as the same number.
std::string FloatText(double number);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_VALUE_TEXT_H_
