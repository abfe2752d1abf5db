#include "engine/sampling/stop_checker.h"

#include <algorithm>
#include <utility>

namespace ration {
namespace {

// Bytes at the end of `text` that begin a UTF-8 character and do not finish it; 0 to 3.
size_t IncompleteTail(absl::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const unsigned char byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // a continuation byte: the lead byte is further left
    const size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

}  // namespace

StopChecker::StopChecker(const StoppingParams& params, std::vector<int32_t> eos_token_ids)
    : min_new_tokens_(params.min_new_tokens),
      include_stop_string_(params.include_stop_string),
      stop_tokens_(params.stop_token_ids) {
  if (!params.ignore_eos) stop_tokens_.insert(stop_tokens_.end(), eos_token_ids.begin(), eos_token_ids.end());
  std::sort(stop_tokens_.begin(), stop_tokens_.end());
  stop_tokens_.erase(std::unique(stop_tokens_.begin(), stop_tokens_.end()), stop_tokens_.end());

  for (const std::string& text : params.stop_strings) {
    if (text.empty()) continue;
    Pattern pattern;
    pattern.text = text;
    pattern.border.assign(text.size(), 0);
    for (size_t i = 1; i < text.size(); ++i) {
      int32_t length = pattern.border[i - 1];
      while (length > 0 && text[length] != text[i]) length = pattern.border[length - 1];
      pattern.border[i] = text[length] == text[i] ? length + 1 : 0;
    }
    patterns_.push_back(std::move(pattern));
  }
}

const std::vector<int32_t>& StopChecker::ForbiddenTokens(int64_t generated_tokens) const {
  return generated_tokens < min_new_tokens_ ? stop_tokens_ : none_;
}

bool StopChecker::IsStopToken(int32_t token) const {
  return std::binary_search(stop_tokens_.begin(), stop_tokens_.end(), token);
}

bool StopChecker::Advance(Pattern& pattern, char byte) {
  while (pattern.state > 0 && pattern.text[pattern.state] != byte) pattern.state = pattern.border[pattern.state - 1];
  if (pattern.text[pattern.state] == byte) ++pattern.state;
  if (pattern.state < static_cast<int32_t>(pattern.text.size())) return false;
  pattern.state = pattern.border.back();  // go on as if it had not matched: the match may not count
  return true;
}

std::string StopChecker::Append(absl::string_view text, bool may_stop) {
  if (matched_.has_value()) return "";
  for (size_t i = 0; i < text.size(); ++i) {
    held_.push_back(text[i]);
    const Pattern* longest = nullptr;
    for (Pattern& pattern : patterns_) {
      if (Advance(pattern, text[i]) && (longest == nullptr || pattern.text.size() > longest->text.size())) {
        longest = &pattern;
      }
    }
    if (longest == nullptr || !may_stop) continue;
    matched_ = longest->text;
    if (!include_stop_string_) held_.resize(held_.size() - longest->text.size());
    return std::exchange(held_, "");
  }

  size_t keep = 0;
  for (const Pattern& pattern : patterns_) keep = std::max(keep, static_cast<size_t>(pattern.state));
  keep += IncompleteTail(absl::string_view(held_).substr(0, held_.size() - keep));
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopChecker::Flush() {
  std::string rest = std::exchange(held_, "");
  if (matched_.has_value()) return "";
  if (const size_t tail = IncompleteTail(rest); tail > 0) {
    rest.resize(rest.size() - tail);
    rest += "\xEF\xBF\xBD";
  }
  return rest;
}

}  // namespace ration
