#include "engine/chat/jinja/lexer.h"

#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/string_literal.h"
#include "engine/chat/jinja/unicode_text.h"
#include "engine/tokenizer/utf8.h"

namespace ration::jinja {
namespace {

using Kind = Token::Kind;

// Line feeds only, and not one at the end.
std::string NormalizeLineEnds(absl::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
      continue;
    }
    text += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : text_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (offset_ < text_.size()) RATION_RETURN_IF_ERROR(Data());
    Add(Kind::kEnd, text_.size());
    return std::move(tokens_);
  }

 private:
  // Text up to the next tag, and that tag.
  absl::Status Data() {
    size_t begin = offset_;
    while ((begin = text_.find('{', begin)) != absl::string_view::npos) {
      const char second = begin + 1 < text_.size() ? text_[begin + 1] : '\0';
      if (second == '{' || second == '%' || second == '#') break;
      ++begin;
    }
    if (begin == absl::string_view::npos) {
      AddData(text_.substr(offset_));
      offset_ = text_.size();
      return absl::OkStatus();
    }
    const char type = text_[begin + 1];
    size_t after = begin + 2;
    const char sign = SignAt(after);
    if (sign != '\0') ++after;
    AddData(ControlledText(begin, sign, type == '{'));
    offset_ = begin;
    if (type == '#') return Comment(after);
    if (type == '{') {
      Add(Kind::kVariableBegin, begin);
      offset_ = after;
      return Inside(Kind::kVariableEnd);
    }
    size_t raw = SkipSpace(after);
    if (absl::StartsWith(text_.substr(raw), "raw")) {
      raw = SkipSpace(raw + 3);
      if (absl::StartsWith(text_.substr(raw), "%}")) return Raw(raw + 2);
      if (absl::StartsWith(text_.substr(raw), "-%}")) return Raw(SkipSpace(raw + 3));
    }
    Add(Kind::kBlockBegin, begin);
    offset_ = after;
    return Inside(Kind::kBlockEnd);
  }

  char SignAt(size_t offset) const {
    return offset < text_.size() && (text_[offset] == '-' || text_[offset] == '+') ? text_[offset] : '\0';
  }

  size_t SkipSpace(size_t offset) const { return text_.size() - StripLeft(text_.substr(offset)).size(); }

  // The text from offset_ to a tag at `end`, without what the tag takes off it.
  absl::string_view ControlledText(size_t end, char sign, bool variable) const {
    const absl::string_view text = text_.substr(offset_, end - offset_);
    if (sign == '-') return StripRight(text);
    if (sign == '+' || variable) return text;
    const size_t last_line_feed = text.rfind('\n');
    if (last_line_feed == absl::string_view::npos && !line_starting_) return text;
    const size_t line = last_line_feed == absl::string_view::npos ? 0 : last_line_feed + 1;
    return StripLeft(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  // Where a tag ends that closes with `close` at `offset`: with trim_blocks the line feed after it belongs to it; after
  // a minus all white space does. npos if it does not close there.
  size_t AfterClose(size_t offset, absl::string_view close, bool trim) const {
    const absl::string_view rest = text_.substr(offset);
    if (absl::StartsWith(rest, close)) {
      offset += close.size();
      return trim && offset < text_.size() && text_[offset] == '\n' ? offset + 1 : offset;
    }
    if (rest.empty() || !absl::StartsWith(rest.substr(1), close)) return absl::string_view::npos;
    if (rest[0] == '-') return SkipSpace(offset + 1 + close.size());
    return rest[0] == '+' && trim ? offset + 1 + close.size() : absl::string_view::npos;
  }

  void Leave(size_t offset) {
    offset_ = offset;
    line_starting_ = text_[offset - 1] == '\n';
  }

  absl::Status Comment(size_t content) {
    const size_t close = text_.find("#}", content);
    if (close == absl::string_view::npos) return ErrorAt(At(offset_), "the comment has no end");
    const size_t sign = close > content && SignAt(close - 1) != '\0' ? close - 1 : close;
    Leave(AfterClose(sign, "#}", true));
    return absl::OkStatus();
  }

  // What follows {% raw %}, up to and with {% endraw %}.
  absl::Status Raw(size_t content) {
    const Position begin = At(offset_);
    offset_ = content;
    line_starting_ = text_[content - 1] == '\n';
    for (size_t tag = text_.find("{%", content); tag != absl::string_view::npos; tag = text_.find("{%", tag + 2)) {
      size_t after = tag + 2;
      const char sign = SignAt(after);
      if (sign != '\0') ++after;
      after = SkipSpace(after);
      if (!absl::StartsWith(text_.substr(after), "endraw")) continue;
      const size_t end = AfterClose(SkipSpace(after + 6), "%}", true);
      if (end == absl::string_view::npos) continue;
      AddData(ControlledText(tag, sign, false));
      Leave(end);
      return absl::OkStatus();
    }
    return ErrorAt(begin, "the raw block has no endraw");
  }

  // The tokens of a tag, to its end.
  absl::Status Inside(Kind end_kind) {
    const Position begin = tokens_.back().at;
    const bool block = end_kind == Kind::kBlockEnd;
    std::string open;  // the closing brackets that are due, the next one last
    while (true) {
      offset_ = SkipSpace(offset_);
      if (offset_ >= text_.size()) {
        return ErrorAt(begin, block ? "the block tag has no %}" : "the expression has no }}");
      }
      if (open.empty()) {
        const size_t end = AfterClose(offset_, block ? "%}" : "}}", block);
        if (end != absl::string_view::npos) {
          Add(end_kind, offset_);
          Leave(end);
          return absl::OkStatus();
        }
      }
      const char c = text_[offset_];
      if (IsDigit(c)) {
        RATION_RETURN_IF_ERROR(Number());
      } else if (IsNameStart(c)) {
        size_t end = offset_;
        while (end < text_.size() && IsNamePart(text_[end])) ++end;
        Add(Kind::kName, offset_, std::string(text_.substr(offset_, end - offset_)));
        offset_ = end;
      } else if (c == '\'' || c == '"') {
        RATION_RETURN_IF_ERROR(String());
      } else {
        RATION_RETURN_IF_ERROR(Operator(&open));
      }
    }
  }

  absl::Status Number() {
    size_t end = offset_;
    const auto digits = [&] {
      while (end < text_.size() &&
             (IsDigit(text_[end]) || (text_[end] == '_' && end + 1 < text_.size() && IsDigit(text_[end + 1])))) {
        ++end;
      }
    };
    const auto digit_at = [&](size_t offset) { return offset < text_.size() && IsDigit(text_[offset]); };
    digits();
    bool is_float = false;
    if (offset_ == 0 || text_[offset_ - 1] != '.') {  // x.0.1 is no fraction
      if (end < text_.size() && text_[end] == '.' && digit_at(end + 1)) {
        is_float = true;
        ++end;
        digits();
      }
      if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
        const size_t exponent = end + (SignAt(end + 1) != '\0' ? 2 : 1);
        if (digit_at(exponent)) {
          is_float = true;
          end = exponent;
          digits();
        }
      }
    }
    std::string digits_only;
    for (char d : text_.substr(offset_, end - offset_)) {
      if (d != '_') digits_only += d;
    }
    const bool octal_like = !is_float && digits_only.size() > 1 && digits_only[0] == '0';
    if (octal_like || (end < text_.size() && IsNamePart(text_[end]))) {
      return ErrorAt(At(offset_), "only decimal numbers are supported");
    }
    Token& token = Add(is_float ? Kind::kFloat : Kind::kInteger, offset_, digits_only);
    if (is_float ? !absl::SimpleAtod(digits_only, &token.number) : !absl::SimpleAtoi(digits_only, &token.integer)) {
      return ErrorAt(token.at, absl::StrCat("the number ", Quoted(digits_only), " is too large"));
    }
    offset_ = end;
    return absl::OkStatus();
  }

  absl::Status String() {
    const char quote = text_[offset_];
    size_t end = offset_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return ErrorAt(At(offset_), "the string has no end");
    absl::StatusOr<std::string> value = UnescapeString(text_.substr(offset_ + 1, end - offset_ - 1));
    if (!value.ok()) return ErrorAt(At(offset_), value.status());
    Add(Kind::kString, offset_, *std::move(value));
    offset_ = end + 1;
    return absl::OkStatus();
  }

  absl::Status Operator(std::string* open) {
    for (absl::string_view two : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!absl::StartsWith(text_.substr(offset_), two)) continue;
      Add(Kind::kOperator, offset_, std::string(two));
      offset_ += 2;
      return absl::OkStatus();
    }
    const char c = text_[offset_];
    if (absl::string_view("+-/*%~[](){}><=.:|,").find(c) == absl::string_view::npos) {
      return ErrorAt(At(offset_),
                     absl::StrCat("unexpected character ",
                                  Quoted(text_.substr(offset_, FirstCharacterBytes(text_.substr(offset_))))));
    }
    if (c == '(') *open += ')';
    if (c == '[') *open += ']';
    if (c == '{') *open += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty()) return ErrorAt(At(offset_), absl::StrCat("unexpected \"", std::string(1, c), "\""));
      if (open->back() != c) {
        return ErrorAt(At(offset_), absl::StrCat("unexpected \"", std::string(1, c), "\" where \"",
                                                 std::string(1, open->back()), "\" is due"));
      }
      open->pop_back();
    }
    Add(Kind::kOperator, offset_, std::string(1, c));
    ++offset_;
    return absl::OkStatus();
  }

  Token& Add(Kind kind, size_t offset, std::string text = "") {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.at = At(offset);
    tokens_.push_back(std::move(token));
    return tokens_.back();
  }

  void AddData(absl::string_view text) {
    if (!text.empty()) Add(Kind::kData, offset_, std::string(text));
  }

  // Goes forward from where it was asked last, so that all positions together cost one pass.
  Position At(size_t offset) {
    for (; counted_ < offset; ++counted_) {
      if (text_[counted_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else if ((static_cast<unsigned char>(text_[counted_]) & 0xC0) != 0x80) {
        ++position_.column;
      }
    }
    return position_;
  }

  const absl::string_view text_;
  size_t offset_ = 0;
  bool line_starting_ = true;  // the tag before offset_ ended with a line feed, or there was none
  size_t counted_ = 0;
  Position position_;  // of counted_
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  const std::string text = NormalizeLineEnds(source);
  return Lexer(text).Run();
}

std::string Describe(const Token& token) {
  switch (token.kind) {
    case Kind::kEnd:
      return "the end of the template";
    case Kind::kVariableEnd:
      return "\"}}\"";
    case Kind::kBlockEnd:
      return "\"%}\"";
    case Kind::kString:
      return absl::StrCat("the string ", Quoted(token.text));
    default:
      return Quoted(token.text);
  }
}

}  // namespace ration::jinja
