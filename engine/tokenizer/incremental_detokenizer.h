// Turns a growing list of token ids into text, a piece at a time, never emitting half a UTF-8 character: the pieces, joined,
// equal Tokenizer::Decode of all ids (given the prompt's ids as context, so that a leading space is right).
// Layer: engine/tokenizer. One per sequence; thread-compatible.
#ifndef RATION_ENGINE_TOKENIZER_INCREMENTAL_DETOKENIZER_H_
#define RATION_ENGINE_TOKENIZER_INCREMENTAL_DETOKENIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

class IncrementalDetokenizer {
 public:
  // `prompt_ids` are context only: they are never emitted. `tokenizer` must outlive this object.
  IncrementalDetokenizer(const Tokenizer* tokenizer, absl::Span<const int32_t> prompt_ids, bool skip_special_tokens);

  // Appends one id and returns the text that became certain; may be empty. REQUIRES: 0 <= id < vocab_size.
  // Cost: O(1) amortised in the number of ids.
  std::string Append(int32_t id);

  // The text still held back at the end of the sequence (an incomplete character becomes U+FFFD).
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> window_;   // the ids whose text may still change, with a few before them as context
  size_t context_ids_ = 0;        // ids at the front of window_ that are only context
  std::string emitted_of_window_; // text of window_ already returned
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_INCREMENTAL_DETOKENIZER_H_
