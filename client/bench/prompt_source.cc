// Layer: client/bench.
#include "client/bench/prompt_source.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace ration {

PromptSource::PromptSource(int64_t vocab_size, uint64_t seed)
    : vocab_size_(static_cast<int32_t>(std::min<int64_t>(vocab_size, std::numeric_limits<int32_t>::max()))),
      random_(seed) {}

PromptSource::PromptSource(std::vector<int32_t> text_ids, uint64_t seed)
    : text_ids_(std::move(text_ids)), random_(seed) {}

void PromptSource::Fill(int64_t count, v1::TokenIds& ids) {
  ids.mutable_ids()->Reserve(ids.ids_size() + static_cast<int>(count));
  if (text_ids_.empty()) {
    std::uniform_int_distribution<int32_t> id(0, vocab_size_ - 1);
    for (int64_t i = 0; i < count; ++i) ids.add_ids(id(random_));
    return;
  }
  size_t at = std::uniform_int_distribution<size_t>(0, text_ids_.size() - 1)(random_);
  for (int64_t i = 0; i < count; ++i) {
    ids.add_ids(text_ids_[at]);
    at = at + 1 == text_ids_.size() ? 0 : at + 1;
  }
}

}  // namespace ration
