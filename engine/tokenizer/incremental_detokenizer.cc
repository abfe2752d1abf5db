// See incremental_detokenizer.h.
#include "engine/tokenizer/incremental_detokenizer.h"

#include <algorithm>
#include <cstddef>

namespace ration {
namespace {

bool IsContinuationByte(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

IncrementalDetokenizer::IncrementalDetokenizer(const Tokenizer* tokenizer, absl::Span<const int32_t> prompt_ids,
                                               bool skip_special_tokens)
    : stream_(tokenizer->NewDecodeStream(skip_special_tokens)) {
  std::string prompt_text;
  for (int32_t id : prompt_ids) {
    stream_->Append(id, prompt_text);
    prompt_text.clear();
  }
  stream_->Clone()->Finish(prompt_tail_);
}

std::string IncrementalDetokenizer::Append(int32_t id) {
  std::string text;
  stream_->Append(id, text);
  if (!prompt_tail_.empty()) DropPromptTail(text);
  return text;
}

std::string IncrementalDetokenizer::Flush() {
  std::string text;
  stream_->Finish(text);
  if (!prompt_tail_.empty()) DropPromptTail(text);
  return text;
}

void IncrementalDetokenizer::DropPromptTail(std::string& text) {
  size_t common = 0;
  while (common < std::min(text.size(), prompt_tail_.size()) && text[common] == prompt_tail_[common]) ++common;
  const bool differs = common < text.size() && common < prompt_tail_.size();
  if (differs) {
    // Two characters may begin with the same bytes: keep the whole character.
    while (common > 0 && (IsContinuationByte(text[common]) || IsContinuationByte(prompt_tail_[common]))) --common;
    prompt_tail_.clear();
  } else {
    prompt_tail_.erase(0, common);
  }
  text.erase(0, common);
}

}  // namespace ration
