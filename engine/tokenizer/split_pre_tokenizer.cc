// See split_pre_tokenizer.h.
#include "engine/tokenizer/split_pre_tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "engine/base/status_macros.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

absl::Status ForEachString(absl::string_view text, absl::string_view pattern, Regex::PartSink sink) {
  while (!text.empty()) {
    const size_t found = std::min(text.find(pattern), text.size());
    if (found > 0) RATION_RETURN_IF_ERROR(sink(text.substr(0, found), false));
    text.remove_prefix(found);
    if (text.empty()) break;
    RATION_RETURN_IF_ERROR(sink(text.substr(0, pattern.size()), true));
    text.remove_prefix(pattern.size());
  }
  return absl::OkStatus();
}

absl::Status ForEachCharacter(absl::string_view text, SplitPreTokenizer::CharacterClass is_match,
                              Regex::PartSink sink) {
  size_t begin = 0;  // of what matched not
  for (size_t at = 0; at < text.size();) {
    const auto length = static_cast<size_t>(Utf8CharLength(text.substr(at)));
    if (is_match(FirstCodePoint(text.substr(at)))) {
      if (begin < at) RATION_RETURN_IF_ERROR(sink(text.substr(begin, at - begin), false));
      RATION_RETURN_IF_ERROR(sink(text.substr(at, length), true));
      begin = at + length;
    }
    at += length;
  }
  return begin < text.size() ? sink(text.substr(begin), false) : absl::OkStatus();
}

}  // namespace

SplitPreTokenizer::SplitPreTokenizer(Pattern pattern, Behavior behavior, bool invert)
    : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

absl::Status SplitPreTokenizer::ForEachPart(absl::string_view text, RegexBudget& budget, Regex::PartSink sink) const {
  if (const auto* string = std::get_if<std::string>(&pattern_)) return ForEachString(text, *string, sink);
  if (const auto* is_match = std::get_if<CharacterClass>(&pattern_)) return ForEachCharacter(text, *is_match, sink);
  return std::get<Regex>(pattern_).Split(text, budget, sink);
}

absl::Status SplitPreTokenizer::Split(absl::string_view text, bool at_text_start, RegexBudget& budget,
                                      WordSink sink) const {
  size_t begin = 0, end = 0;  // the word under way
  bool previous_match = false;
  const auto flush = [&]() -> absl::Status {
    const absl::string_view word = text.substr(begin, end - begin);
    const bool at_start = at_text_start && begin == 0;
    begin = end;
    return word.empty() ? absl::OkStatus() : sink(word, at_start);
  };
  RATION_RETURN_IF_ERROR(ForEachPart(text, budget, [&](absl::string_view part, bool is_match) -> absl::Status {
    is_match = is_match != invert_;
    bool joins = false;
    switch (behavior_) {
      case Behavior::kRemoved:
      case Behavior::kIsolated:
        break;
      case Behavior::kMergedWithPrevious:
        joins = is_match && !previous_match;
        break;
      case Behavior::kMergedWithNext:
        joins = !is_match && previous_match;
        break;
      case Behavior::kContiguous:
        joins = is_match == previous_match;
        break;
    }
    previous_match = is_match;
    if (!joins) RATION_RETURN_IF_ERROR(flush());
    end += part.size();
    if (is_match && behavior_ == Behavior::kRemoved) begin = end;
    return absl::OkStatus();
  }));
  return flush();
}

}  // namespace ration
