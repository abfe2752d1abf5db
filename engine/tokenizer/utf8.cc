// See utf8.h.
#include "engine/tokenizer/utf8.h"

#include <utf8proc.h>

#include "absl/strings/ascii.h"

namespace ration {

int Utf8CharLength(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  size_t length;
  // The second byte's range excludes overlong forms, surrogates and everything above U+10FFFF.
  unsigned char low = 0x80, high = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return -1;
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return 0;
    if (byte(i) < low || byte(i) > high) return -1;
    low = 0x80;
    high = 0xBF;
  }
  return static_cast<int>(length);
}

size_t FindInvalidUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const int length = Utf8CharLength(text.substr(i));
    if (length <= 0) return i;
    i += static_cast<size_t>(length);
  }
  return absl::string_view::npos;
}

char32_t FirstCodePoint(absl::string_view text) {
  const auto low_bits = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i]) & 0x3F); };
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return lead;
  if (lead < 0xE0) return (static_cast<char32_t>(lead & 0x1F) << 6) | low_bits(1);
  if (lead < 0xF0) return (static_cast<char32_t>(lead & 0x0F) << 12) | (low_bits(1) << 6) | low_bits(2);
  return (static_cast<char32_t>(lead & 0x07) << 18) | (low_bits(1) << 12) | (low_bits(2) << 6) | low_bits(3);
}

size_t LastCharOffset(absl::string_view text) {
  size_t offset = text.size() - 1;
  while (offset > 0 && (static_cast<unsigned char>(text[offset]) & 0xC0) == 0x80) --offset;
  return offset;
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsWordCharacter(char32_t c) {
  if (c == 0x200C || c == 0x200D) return true;  // Join_Control
  // Other_Alphabetic outside the letter and mark categories: circled and squared Latin letters.
  if ((c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
      (c >= 0x1F170 && c <= 0x1F189)) {
    return true;
  }
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

bool IsNumeric(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80) return absl::ascii_ispunct(static_cast<unsigned char>(c));
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

absl::string_view StripLeadingWhiteSpace(absl::string_view text) {
  while (!text.empty() && IsWhiteSpace(FirstCodePoint(text))) {
    text.remove_prefix(static_cast<size_t>(Utf8CharLength(text)));
  }
  return text;
}

absl::string_view StripTrailingWhiteSpace(absl::string_view text) {
  while (!text.empty()) {
    const size_t last = LastCharOffset(text);
    if (!IsWhiteSpace(FirstCodePoint(text.substr(last)))) break;
    text = text.substr(0, last);
  }
  return text;
}

}  // namespace ration
