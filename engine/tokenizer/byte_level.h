// GPT-2's byte alphabet: every byte has a printable character of its own, so that a vocabulary of text covers all bytes.
// Bytes that are printable in Latin-1 stand for themselves; the others take U+0100 and on.
// Layer: engine/tokenizer. Pure functions; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_BYTE_LEVEL_H_
#define RATION_ENGINE_TOKENIZER_BYTE_LEVEL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace ration {

// GPT-2's expression for words, for Regex.
inline constexpr char kGpt2WordRegex[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Appends each byte's character, in UTF-8.
void AppendByteCharacters(absl::string_view bytes, std::string& characters);

// Appends the bytes that the characters of `token` stand for; if one stands for none, all of `token` as it is.
// REQUIRES: `token` is valid UTF-8.
void AppendBytesOfToken(absl::string_view token, std::string& bytes);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_BYTE_LEVEL_H_
