// See pre_tokenizer.h.
#include "engine/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/byte_level.h"

namespace ration {
namespace {

absl::Status RunChain(absl::Span<const std::unique_ptr<PreTokenizer>> chain, absl::string_view text, bool at_text_start,
                      RegexBudget& budget, PreTokenizer::WordSink sink) {
  if (chain.empty()) return text.empty() ? absl::OkStatus() : sink(text, at_text_start);
  return chain[0]->Split(text, at_text_start, budget, [&](absl::string_view word, bool at_start) {
    return RunChain(chain.subspan(1), word, at_start, budget, sink);
  });
}

}  // namespace

MetaspacePreTokenizer::MetaspacePreTokenizer(std::string replacement, Prepend prepend, bool split)
    : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

absl::Status MetaspacePreTokenizer::Split(absl::string_view text, bool at_text_start, RegexBudget&,
                                          WordSink sink) const {
  std::string replaced = absl::StrReplaceAll(text, {{" ", replacement_}});
  const bool wanted = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && at_text_start);
  if (wanted && !absl::StartsWith(replaced, replacement_)) replaced = absl::StrCat(replacement_, replaced);
  if (!split_) return sink(replaced, at_text_start);
  absl::string_view rest = replaced;
  while (!rest.empty()) {
    // The replacement that begins the word does not end it.
    const size_t from = absl::StartsWith(rest, replacement_) ? replacement_.size() : 0;
    const size_t length = std::min(rest.find(replacement_, from), rest.size());
    RATION_RETURN_IF_ERROR(sink(rest.substr(0, length), at_text_start));
    at_text_start = false;
    rest.remove_prefix(length);
  }
  return absl::OkStatus();
}

ByteLevelPreTokenizer::ByteLevelPreTokenizer(bool add_prefix_space, std::optional<Regex> words)
    : add_prefix_space_(add_prefix_space), words_(std::move(words)) {}

absl::Status ByteLevelPreTokenizer::Split(absl::string_view text, bool at_text_start, RegexBudget& budget,
                                          WordSink sink) const {
  std::string prefixed;
  if (add_prefix_space_ && text[0] != ' ') {
    prefixed = absl::StrCat(" ", text);
    text = prefixed;
  }
  std::string characters;
  const auto emit = [&](absl::string_view word, bool) {
    if (word.empty()) return absl::OkStatus();
    characters.clear();
    AppendByteCharacters(word, characters);
    absl::Status status = sink(characters, at_text_start);
    at_text_start = false;
    return status;
  };
  return words_.has_value() ? words_->Split(text, budget, emit) : emit(text, true);
}

absl::Status PreTokenize(const std::vector<std::unique_ptr<PreTokenizer>>& chain, absl::string_view text,
                         bool at_text_start, RegexBudget& budget, PreTokenizer::WordSink sink) {
  return RunChain(chain, text, at_text_start, budget, sink);
}

}  // namespace ration
