#include "engine/chat/jinja/unicode_text.h"

#include <utf8proc.h>

#include <utility>

#include "engine/tokenizer/utf8.h"

namespace ration::jinja {
namespace {

bool IsContinuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

utf8proc_category_t Category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

char32_t Lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
char32_t Upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
char32_t Title(char32_t c) { return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }

bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || Category(c) == UTF8PROC_CATEGORY_LT; }

template <typename Map>
std::string MapCharacters(absl::string_view text, Map map) {
  std::string mapped;
  mapped.reserve(text.size());
  for (absl::string_view rest = text; !rest.empty(); rest.remove_prefix(FirstCharacterBytes(rest))) {
    AppendCharacter(map(FirstCodePoint(rest)), mapped);
  }
  return mapped;
}

// Whether `character`, one character, is in `set`.
bool Contains(absl::string_view set, absl::string_view character) {
  // A character's first byte is no continuation, so a match cannot begin inside another one.
  return set.find(character) != absl::string_view::npos;
}

template <typename Stripped>
absl::string_view LeftWhile(absl::string_view text, Stripped stripped) {
  while (!text.empty()) {
    const size_t bytes = FirstCharacterBytes(text);
    if (!stripped(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  return text;
}

template <typename Stripped>
absl::string_view RightWhile(absl::string_view text, Stripped stripped) {
  while (!text.empty()) {
    const size_t offset = LastCharOffset(text);
    if (!stripped(text.substr(offset))) break;
    text = text.substr(0, offset);
  }
  return text;
}

bool IsSpaceCharacter(absl::string_view character) { return IsPythonSpace(FirstCodePoint(character)); }

bool IsLineBreak(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

}  // namespace

bool IsPythonSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

int64_t CountCharacters(absl::string_view text) {
  int64_t count = 0;
  for (char byte : text) count += IsContinuation(byte) ? 0 : 1;
  return count;
}

size_t CharacterOffset(absl::string_view text, int64_t index) {
  size_t offset = 0;
  for (; offset < text.size(); ++offset) {
    if (IsContinuation(text[offset])) continue;
    if (index-- <= 0) break;
  }
  return offset;
}

size_t FirstCharacterBytes(absl::string_view text) {
  size_t bytes = 1;
  while (bytes < text.size() && IsContinuation(text[bytes])) ++bytes;
  return bytes;
}

std::vector<absl::string_view> SplitCharacters(absl::string_view text) {
  std::vector<absl::string_view> characters;
  while (!text.empty()) {
    const size_t bytes = FirstCharacterBytes(text);
    characters.push_back(text.substr(0, bytes));
    text.remove_prefix(bytes);
  }
  return characters;
}

absl::string_view StripLeft(absl::string_view text) { return LeftWhile(text, IsSpaceCharacter); }
absl::string_view StripRight(absl::string_view text) { return RightWhile(text, IsSpaceCharacter); }
absl::string_view StripLeft(absl::string_view text, absl::string_view characters) {
  return LeftWhile(text, [characters](absl::string_view c) { return Contains(characters, c); });
}
absl::string_view StripRight(absl::string_view text, absl::string_view characters) {
  return RightWhile(text, [characters](absl::string_view c) { return Contains(characters, c); });
}

std::string ToUpper(absl::string_view text) { return MapCharacters(text, Upper); }
std::string ToLower(absl::string_view text) { return MapCharacters(text, Lower); }

std::string Capitalize(absl::string_view text) {
  bool first = true;
  return MapCharacters(text, [&first](char32_t c) { return std::exchange(first, false) ? Title(c) : Lower(c); });
}

std::string TitleCase(absl::string_view text) {
  bool after_letter = false;
  return MapCharacters(
      text, [&after_letter](char32_t c) { return std::exchange(after_letter, IsCased(c)) ? Lower(c) : Title(c); });
}

std::vector<absl::string_view> SplitLines(absl::string_view text) {
  std::vector<absl::string_view> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t bytes = FirstCharacterBytes(text.substr(i));
    if (!IsLineBreak(FirstCodePoint(text.substr(i)))) {
      i += bytes;
      continue;
    }
    lines.push_back(text.substr(start, i - start));
    i += text.substr(i, 2) == "\r\n" ? 2 : bytes;
    start = i;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

bool IsAlpha(char32_t c) {
  const utf8proc_category_t category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool IsDecimalOrDigit(char32_t c) {
  return Category(c) == UTF8PROC_CATEGORY_ND || c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0x2070 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089);
}
bool IsUpper(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_LU; }
bool IsLower(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_LL; }

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

void AppendCharacter(char32_t code_point, std::string& text) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
}

}  // namespace ration::jinja
