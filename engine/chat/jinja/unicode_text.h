// Python's view of text: lengths, positions and slices in characters, its white space, its case mappings (one
// character to one).
// Layer: engine/chat/jinja. Pure functions; thread-safe. REQUIRES everywhere: valid UTF-8, which results then are
// too.
#ifndef RATION_ENGINE_CHAT_JINJA_UNICODE_TEXT_H_
#define RATION_ENGINE_CHAT_JINJA_UNICODE_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace ration::jinja {

// str.isspace() of one character: wider than Unicode's White_Space by U+001C to U+001F.
bool IsPythonSpace(char32_t code_point);

int64_t CountCharacters(absl::string_view text);
// The byte offset of character `index`; the text's size if `index` is the number of characters or more.
size_t CharacterOffset(absl::string_view text, int64_t index);
// The length in bytes of the first character. REQUIRES: not empty.
size_t FirstCharacterBytes(absl::string_view text);
// A view per character.
std::vector<absl::string_view> SplitCharacters(absl::string_view text);

// strip(): white space, or any of the characters in `characters`, off the ends.
absl::string_view StripLeft(absl::string_view text);
absl::string_view StripRight(absl::string_view text);
absl::string_view StripLeft(absl::string_view text, absl::string_view characters);
absl::string_view StripRight(absl::string_view text, absl::string_view characters);

std::string ToUpper(absl::string_view text);
std::string ToLower(absl::string_view text);
std::string Capitalize(absl::string_view text);  // the first character in title case, the others in lower case
std::string TitleCase(absl::string_view text);   // str.title(): so for each run of letters

// str.splitlines(), without the line ends.
std::vector<absl::string_view> SplitLines(absl::string_view text);

// str.isalpha() and its like of one character.
bool IsAlpha(char32_t code_point);
bool IsDecimalOrDigit(char32_t code_point);
bool IsUpper(char32_t code_point);
bool IsLower(char32_t code_point);
bool IsPrintable(char32_t code_point);

// Appends the character. REQUIRES: a valid code point, no surrogate.
void AppendCharacter(char32_t code_point, std::string& text);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_UNICODE_TEXT_H_
