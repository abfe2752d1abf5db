// The pre-tokenizers of tokenizer.json that cut a text at what matches a pattern: Split (string or regular expression),
// Digits, Whitespace, WhitespaceSplit and Punctuation.
// Layer: engine/tokenizer. Immutable; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_SPLIT_PRE_TOKENIZER_H_
#define RATION_ENGINE_TOKENIZER_SPLIT_PRE_TOKENIZER_H_

#include <string>
#include <variant>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/regex.h"

namespace ration {

class SplitPreTokenizer final : public PreTokenizer {
 public:
  // What becomes of a match.
  enum class Behavior {
    kRemoved,             // it is left out
    kIsolated,            // a word of its own
    kMergedWithPrevious,  // the end of the word before it, unless that is a match too
    kMergedWithNext,      // the beginning of the word after it, unless that is a match too
    kContiguous,          // one word with the matches beside it
  };
  // One character that the function says yes to is one match.
  using CharacterClass = bool (*)(char32_t);
  // A string must not be empty.
  using Pattern = std::variant<std::string, Regex, CharacterClass>;

  // With `invert`, what lies between the matches is the match and the other way round.
  SplitPreTokenizer(Pattern pattern, Behavior behavior, bool invert);
  absl::Status Split(absl::string_view text, bool at_text_start, RegexBudget& budget, WordSink sink) const override;

 private:
  // Calls `sink` with the matches and what is between them; nothing else is empty but a match of a Regex.
  absl::Status ForEachPart(absl::string_view text, RegexBudget& budget, Regex::PartSink sink) const;

  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_SPLIT_PRE_TOKENIZER_H_
