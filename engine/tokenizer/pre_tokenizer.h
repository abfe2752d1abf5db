// tokenizer.json's "pre_tokenizer": cuts normalised text into words; the model never merges across a word's edge.
// Layer: engine/tokenizer. Immutable; thread-safe. This is the seam for other kinds (regex splits, byte level):
// implement PreTokenizer and name the type in tokenizer_json.cc.
#ifndef RATION_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
#define RATION_ENGINE_TOKENIZER_PRE_TOKENIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"

namespace ration {

class PreTokenizer {
 public:
  // A word, valid during the call only. `at_text_start`: it begins where the whole text begins.
  using WordSink = absl::FunctionRef<void(absl::string_view word, bool at_text_start)>;

  virtual ~PreTokenizer() = default;
  // Hands the words of `text` (valid UTF-8, not empty) to `sink` in order; none is empty.
  virtual void Split(absl::string_view text, bool at_text_start, WordSink sink) const = 0;
};

// Spaces become `replacement`, which is also put in front of the text unless it is there already; with `split` every
// replacement begins a new word.
class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  enum class Prepend { kAlways, kFirst, kNever };  // kFirst: only at the start of the whole text

  MetaspacePreTokenizer(std::string replacement, Prepend prepend, bool split);
  void Split(absl::string_view text, bool at_text_start, WordSink sink) const override;

 private:
  std::string replacement_;  // one character
  Prepend prepend_;
  bool split_;
};

// Runs `chain` (each over the words of the one before) over `text`; an empty chain leaves it whole.
void PreTokenize(const std::vector<std::unique_ptr<PreTokenizer>>& chain, absl::string_view text, bool at_text_start,
                 PreTokenizer::WordSink sink);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
