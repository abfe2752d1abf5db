#include "engine/chat/jinja/string_literal.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/chat/jinja/unicode_text.h"

namespace ration::jinja {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

absl::StatusOr<std::string> UnescapeString(absl::string_view literal) {
  std::string text;
  text.reserve(literal.size());
  for (size_t i = 0; i < literal.size(); ++i) {
    if (literal[i] != '\\' || i + 1 >= literal.size()) {
      text += literal[i];
      continue;
    }
    const size_t start = i;
    const char kind = literal[++i];
    const absl::string_view simple = "abfnrtv\\'\"";
    if (const size_t found = simple.find(kind); found != absl::string_view::npos) {
      text += absl::string_view("\a\b\f\n\r\t\v\\'\"")[found];
    } else if (kind == '\n') {
      // A line continued: nothing.
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      const size_t digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
      uint32_t code = 0;
      bool valid = i + digits < literal.size();
      for (size_t d = 1; valid && d <= digits; ++d) {
        const int digit = HexDigit(literal[i + d]);
        valid = digit >= 0;
        code = code * 16 + static_cast<uint32_t>(digit);
      }
      if (!valid || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        const absl::string_view rest = literal.substr(start);
        const absl::string_view escape = rest.substr(0, CharacterOffset(rest, static_cast<int64_t>(digits) + 2));
        return absl::InvalidArgumentError(absl::StrCat("the escape ", Quoted(escape), " is no character"));
      }
      AppendCharacter(code, text);
      i += digits;
    } else if (kind >= '0' && kind <= '7') {
      uint32_t code = 0;
      size_t end = i;
      while (end < literal.size() && end < i + 3 && literal[end] >= '0' && literal[end] <= '7') {
        code = code * 8 + static_cast<uint32_t>(literal[end++] - '0');
      }
      AppendCharacter(code, text);
      i = end - 1;
    } else if (kind == 'N') {
      return absl::InvalidArgumentError("the escape \"\\N{...}\" is not supported");
    } else {
      text += '\\';
      text += kind;
    }
  }
  return text;
}

}  // namespace ration::jinja
