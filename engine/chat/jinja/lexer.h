// A template's text as tokens, with white space controlled as Hugging Face sets Jinja up: trim_blocks and
// lstrip_blocks on, one line feed at the very end dropped, every line end a line feed.
// Layer: engine/chat/jinja. Stateless; thread-safe.
#ifndef RATION_ENGINE_CHAT_JINJA_LEXER_H_
#define RATION_ENGINE_CHAT_JINJA_LEXER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/position.h"

namespace ration::jinja {

struct Token {
  enum class Kind {
    kData,           // text outside tags; raw blocks too. Not empty
    kVariableBegin,  // {{
    kVariableEnd,    // }}
    kBlockBegin,     // {%
    kBlockEnd,       // %}
    kName,
    kString,    // text: its value, escapes resolved
    kInteger,   // integer
    kFloat,     // number
    kOperator,  // text: "+", "==", "[" ...
    kEnd,       // of the template; the last token, and only it
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int64_t integer = 0;
  double number = 0;
  Position at;
};

// REQUIRES: valid UTF-8. InvalidArgument begins with the position, "3:14: ".
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

// For messages: what stands there, e.g. "\"endfor\"" or "the end of the template".
std::string Describe(const Token& token);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_LEXER_H_
