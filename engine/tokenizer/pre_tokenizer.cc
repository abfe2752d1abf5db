// See pre_tokenizer.h.
#include "engine/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/types/span.h"

namespace ration {
namespace {

void RunChain(absl::Span<const std::unique_ptr<PreTokenizer>> chain, absl::string_view text, bool at_text_start,
              PreTokenizer::WordSink sink) {
  if (chain.empty()) {
    if (!text.empty()) sink(text, at_text_start);
    return;
  }
  chain[0]->Split(text, at_text_start,
                  [&](absl::string_view word, bool at_start) { RunChain(chain.subspan(1), word, at_start, sink); });
}

}  // namespace

MetaspacePreTokenizer::MetaspacePreTokenizer(std::string replacement, Prepend prepend, bool split)
    : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}

void MetaspacePreTokenizer::Split(absl::string_view text, bool at_text_start, WordSink sink) const {
  std::string replaced = absl::StrReplaceAll(text, {{" ", replacement_}});
  const bool wanted = prepend_ == Prepend::kAlways || (prepend_ == Prepend::kFirst && at_text_start);
  if (wanted && !absl::StartsWith(replaced, replacement_)) replaced = absl::StrCat(replacement_, replaced);
  if (!split_) {
    sink(replaced, at_text_start);
    return;
  }
  absl::string_view rest = replaced;
  while (!rest.empty()) {
    // The replacement that begins the word does not end it.
    const size_t from = absl::StartsWith(rest, replacement_) ? replacement_.size() : 0;
    const size_t length = std::min(rest.find(replacement_, from), rest.size());
    sink(rest.substr(0, length), at_text_start);
    at_text_start = false;
    rest.remove_prefix(length);
  }
}

void PreTokenize(const std::vector<std::unique_ptr<PreTokenizer>>& chain, absl::string_view text, bool at_text_start,
                 PreTokenizer::WordSink sink) {
  RunChain(chain, text, at_text_start, sink);
}

}  // namespace ration
