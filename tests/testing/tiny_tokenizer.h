// A small made-up tokenizer in the layout of Llama-2's tokenizer.json, for tests that need text and no real vocabulary.
// Layer: tests/testing. Pure functions; thread-safe.
//
// Ids: 0 <unk>, 1 <s> (BOS), 2 </s> (EOS), 3 + b the byte token of byte b, then from kTinyFirstCharacterId single characters
// (U+2581, a-z, A-Z, digits, some punctuation, e-acute), then merged pieces such as "he" and "\u2581the". Any text can be
// encoded; characters outside the list come out as bytes.
#ifndef RATION_TESTS_TESTING_TINY_TOKENIZER_H_
#define RATION_TESTS_TESTING_TINY_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "engine/tokenizer/tokenizer.h"

namespace ration {

inline constexpr int32_t kTinyUnkId = 0;
inline constexpr int32_t kTinyBosId = 1;
inline constexpr int32_t kTinyEosId = 2;
inline constexpr int32_t kTinyFirstByteId = 3;
inline constexpr int32_t kTinyFirstCharacterId = kTinyFirstByteId + 256;

// The text of the tokenizer.json. With `pad_vocab_to` larger than the natural size, unused tokens "<extra_N>" are added at the
// end, so that the vocabulary fits a model of that size.
std::string TinyTokenizerJson(int32_t pad_vocab_to = 0);

// The natural number of ids.
int32_t TinyTokenizerVocabSize();

// ParseTokenizer of the above; aborts if it fails.
std::unique_ptr<Tokenizer> MakeTinyTokenizer(int32_t pad_vocab_to = 0);

}  // namespace ration

#endif  // RATION_TESTS_TESTING_TINY_TOKENIZER_H_
