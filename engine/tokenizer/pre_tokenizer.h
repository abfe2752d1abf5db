// tokenizer.json's "pre_tokenizer": cuts normalised text into words; the model never merges across a word's edge.
// Layer: engine/tokenizer. Immutable; thread-safe. Cutting at patterns is split_pre_tokenizer.h's; a new kind implements
// PreTokenizer and is named in tokenizer_json_chains.cc.
#ifndef RATION_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
#define RATION_ENGINE_TOKENIZER_PRE_TOKENIZER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/regex.h"

namespace ration {

class PreTokenizer {
 public:
  // A word, valid during the call only. `at_text_start`: it begins where the whole text begins.
  using WordSink = absl::FunctionRef<absl::Status(absl::string_view word, bool at_text_start)>;

  virtual ~PreTokenizer() = default;
  // Hands the words of `text` (valid UTF-8, not empty) to `sink` in order; none is empty. Ends with the first status
  // that is not OK: the sink's, or InvalidArgument when a regular expression needs more than `budget`.
  virtual absl::Status Split(absl::string_view text, bool at_text_start, RegexBudget& budget, WordSink sink) const = 0;
};

// Spaces become `replacement`, which is also put in front of the text unless it is there already; with `split` every
// replacement begins a new word.
class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };  // kFirst: only at the start of the whole text

  MetaspacePreTokenizer(std::string replacement, Prepend prepend, bool split);
  absl::Status Split(absl::string_view text, bool at_text_start, RegexBudget& budget, WordSink sink) const override;

 private:
  std::string replacement_;  // one character
  Prepend prepend_;
  bool split_;
};

// Bytes become the characters of byte_level.h, after the text was cut into words by `words` (not at all without one).
// With `add_prefix_space` a text that does not begin with a space gets one.
class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, std::optional<Regex> words);
  absl::Status Split(absl::string_view text, bool at_text_start, RegexBudget& budget, WordSink sink) const override;

 private:
  bool add_prefix_space_;
  std::optional<Regex> words_;
};

// Runs `chain` (each over the words of the one before) over `text`; an empty chain leaves it whole.
absl::Status PreTokenize(const std::vector<std::unique_ptr<PreTokenizer>>& chain, absl::string_view text,
                         bool at_text_start, RegexBudget& budget, PreTokenizer::WordSink sink);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
