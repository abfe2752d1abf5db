// Text to token ids and back, as tokenizer.json or sentencepiece's tokenizer.model defines it.
// Layer: engine/tokenizer. Immutable after loading; every method is thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_TOKENIZER_H_
#define RATION_ENGINE_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ration {

// Decode, an id at a time: the text appended to `text` by all calls together equals Tokenizer::Decode of the ids. Always whole
// characters. Cost: O(1) amortised. Thread-compatible; the tokenizer must outlive it.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  // Appends the text that became certain; later ids cannot change it. An id outside the vocabulary adds no text.
  virtual void Append(int32_t id, std::string& text) = 0;
  // Appends what was held back. Nothing may be called afterwards.
  virtual void Finish(std::string& text) = 0;
  virtual std::unique_ptr<DecodeStream> Clone() const = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Encodes `text`; added and special tokens inside the text are recognised. With `add_special_tokens` the post-processor's
  // template (usually a BOS) is applied. InvalidArgument if the text is not valid UTF-8 (the message gives the byte offset), too
  // long, or takes one of the tokenizer's regular expressions more time or memory than they are allowed.
  // Cost: O(n log n) in the text's length.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text, bool add_special_tokens) const = 0;

  // The decoder chain over `ids`; bytes that are not whole UTF-8 become U+FFFD. InvalidArgument names the first id that is out
  // of range, with its index and the vocabulary size.
  virtual absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const = 0;

  // At the start of a text. Never null.
  virtual std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const = 0;

  // One more than the highest id; an id below it that the file leaves out has empty text.
  virtual int32_t vocab_size() const = 0;
  // The id of a token's exact content, e.g. "</s>".
  virtual std::optional<int32_t> TokenToId(absl::string_view token) const = 0;
  // The token as the vocabulary writes it; empty if `id` is out of range.
  virtual absl::string_view IdToToken(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
};

// Reads DIRECTORY/tokenizer.json or, where there is none, tokenizer.model with tokenizer_config.json and added_tokens.json.
// NotFound names the file; InvalidArgument or Unimplemented names the part of the file (e.g. "model.merges[17]", a
// pre-tokenizer type) and what is wrong with it.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory);

// The same from the file's text (tests, fuzzing).
absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizer(absl::string_view tokenizer_json);
// The texts of the three files; an empty one stands for a missing tokenizer_config.json or added_tokens.json.
absl::StatusOr<std::unique_ptr<Tokenizer>> ParseSentencePieceTokenizer(absl::string_view tokenizer_model,
                                                                       absl::string_view tokenizer_config,
                                                                       absl::string_view added_tokens);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_TOKENIZER_H_
