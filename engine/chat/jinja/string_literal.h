// What stands between the quotes of a string in a template, with Python's escapes resolved.
// Layer: engine/chat/jinja. Stateless; thread-safe.
#ifndef RATION_ENGINE_CHAT_JINJA_STRING_LITERAL_H_
#define RATION_ENGINE_CHAT_JINJA_STRING_LITERAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration::jinja {

// An unknown escape stays as it is, backslash included. InvalidArgument for one that is cut short or names no
// character. REQUIRES: valid UTF-8.
absl::StatusOr<std::string> UnescapeString(absl::string_view literal);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_STRING_LITERAL_H_
