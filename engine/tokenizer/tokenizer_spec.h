// A tokenizer taken apart, as a file describes it: what is checked and put together by tokenizer.cc.
// Layer: engine/tokenizer. Plain data; what the parts do is in the headers they come from.
#ifndef RATION_ENGINE_TOKENIZER_TOKENIZER_SPEC_H_
#define RATION_ENGINE_TOKENIZER_TOKENIZER_SPEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pre_tokenizer.h"

namespace ration {

// Limits on any file.
inline constexpr int32_t kMaxVocabSize = 1 << 24;
inline constexpr size_t kMaxTokenBytes = 64 << 10;

struct TokenizerSpec {
  std::vector<AddedToken> added_tokens;  // in the file's order; ids and contents agree with the model's vocabulary
  std::vector<NormalizerStep> normalizer;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizer;
  BpeModel model;
  std::vector<int32_t> ids_before, ids_after;  // the post-processor's template around the text
  std::vector<DecoderStep> decoder;
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_TOKENIZER_SPEC_H_
