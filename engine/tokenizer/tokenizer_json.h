// Reads tokenizer.json and checks all of it: what comes out can be used without further checks.
// Layer: engine/tokenizer. Pure function; thread-safe. What the parts do is in the headers they come from.
//
// "truncation" and "padding" are ignored: limits belong to the request. Unknown members are ignored, unknown types
// refused.
#ifndef RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_H_
#define RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pre_tokenizer.h"

namespace ration {

// Limits on the file. The largest vocabularies in use have 262,144 ids and a file of 34 MB.
inline constexpr size_t kMaxTokenizerJsonBytes = size_t{512} << 20;
inline constexpr int32_t kMaxVocabSize = 1 << 24;
inline constexpr size_t kMaxTokenBytes = 64 << 10;
inline constexpr size_t kMaxChainSteps = 64;
// A chain of replacements may make a text this many times longer at most, so that no file turns a small text into
// gigabytes.
inline constexpr int64_t kMaxReplacementGrowth = 64;

struct TokenizerSpec {
  std::vector<AddedToken> added_tokens;  // in the file's order; ids and contents agree with the model's vocabulary
  std::vector<NormalizerStep> normalizer;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizer;
  BpeModel model;
  std::vector<int32_t> ids_before, ids_after;  // the post-processor's template around the text
  std::vector<DecoderStep> decoder;
};

// InvalidArgument or Unimplemented: "tokenizer.json: model.merges[17]: ...".
absl::StatusOr<TokenizerSpec> ParseTokenizerJson(absl::string_view text);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_H_
