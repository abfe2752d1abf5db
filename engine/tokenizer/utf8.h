// UTF-8 and the few character classes that tokenizer.json's definitions rest on.
// Layer: engine/tokenizer. Pure functions; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_UTF8_H_
#define RATION_ENGINE_TOKENIZER_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace ration {

inline constexpr absl::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// The first character of `text` (not empty): its length in bytes if it is valid (no surrogates, no overlong forms); 0 if `text`
// ends before the character does; -1 if no continuation could make it valid.
int Utf8CharLength(absl::string_view text);

// The offset of the first byte that does not begin a valid character, or npos.
size_t FindInvalidUtf8(absl::string_view text);

// The code point of the first character. REQUIRES: `text` begins with a valid character.
char32_t FirstCodePoint(absl::string_view text);
// The offset at which the last character of `text` begins. REQUIRES: valid UTF-8, not empty.
size_t LastCharOffset(absl::string_view text);

// Unicode's White_Space property.
bool IsWhiteSpace(char32_t code_point);
// A regular expression's \w: letters, marks, decimal numbers, connector punctuation, joiners.
bool IsWordCharacter(char32_t code_point);

// A number of any kind: decimal digits, fractions, Roman numerals.
bool IsNumeric(char32_t code_point);
// Unicode's punctuation categories, and ASCII's symbols.
bool IsPunctuation(char32_t code_point);

// `text` without the white space at its beginning or end. REQUIRES: valid UTF-8.
absl::string_view StripLeadingWhiteSpace(absl::string_view text);
absl::string_view StripTrailingWhiteSpace(absl::string_view text);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_UTF8_H_
