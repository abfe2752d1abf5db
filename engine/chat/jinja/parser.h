// Parses a template's statements.
// Layer: engine/chat/jinja. Stateless; thread-safe.
#ifndef RATION_ENGINE_CHAT_JINJA_PARSER_H_
#define RATION_ENGINE_CHAT_JINJA_PARSER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/ast.h"

namespace ration::jinja {

// REQUIRES: valid UTF-8. InvalidArgument begins with the position ("3:14: ") and names what is wrong or not supported.
absl::StatusOr<Body> ParseTemplate(absl::string_view source);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_PARSER_H_
