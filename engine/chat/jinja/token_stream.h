// The tokens of a template as the parsers take them, one after another, with the depth of what is open.
// Layer: engine/chat/jinja. Thread-compatible.
#ifndef RATION_ENGINE_CHAT_JINJA_TOKEN_STREAM_H_
#define RATION_ENGINE_CHAT_JINJA_TOKEN_STREAM_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/lexer.h"

namespace ration::jinja {

class TokenStream {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[position_]; }
  const Token& ahead() const { return tokens_[position_ + (position_ + 1 < tokens_.size() ? 1 : 0)]; }
  // Returns the current token and goes on; stays at the end.
  const Token& Next() {
    const Token& token = tokens_[position_];
    if (token.kind != Token::Kind::kEnd) ++position_;
    return token;
  }

  bool At(Token::Kind kind) const { return current().kind == kind; }
  bool AtOperator(absl::string_view text) const { return At(Token::Kind::kOperator) && current().text == text; }
  bool AtName(absl::string_view text) const { return At(Token::Kind::kName) && current().text == text; }
  bool SkipOperator(absl::string_view text) { return AtOperator(text) && (Next(), true); }
  bool SkipName(absl::string_view text) { return AtName(text) && (Next(), true); }

  absl::Status ExpectOperator(absl::string_view text) {
    if (SkipOperator(text)) return absl::OkStatus();
    return Unexpected(absl::StrCat("\"", text, "\""));
  }
  absl::StatusOr<std::string> ExpectName(absl::string_view what) {
    if (!At(Token::Kind::kName)) return Unexpected(what);
    return Next().text;
  }
  absl::Status Expect(Token::Kind kind, absl::string_view what) {
    if (!At(kind)) return Unexpected(what);
    Next();
    return absl::OkStatus();
  }

  // An error at the current token: it is not `expected`.
  absl::Status Unexpected(absl::string_view expected) const {
    return ErrorAt(current().at, absl::StrCat("expected ", expected, ", not ", Describe(current())));
  }

 private:
  const std::vector<Token> tokens_;
  size_t position_ = 0;
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_TOKEN_STREAM_H_
