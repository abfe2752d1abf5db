// The model's own tokens: id <-> content. Added tokens that are not among them are kept by added_tokens.h.
// Layer: engine/tokenizer. Immutable after filling; const methods are thread-safe. Movable, not copyable.
#ifndef RATION_ENGINE_TOKENIZER_VOCABULARY_H_
#define RATION_ENGINE_TOKENIZER_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace ration {

class Vocabulary {
 public:
  // `tokens[id]`; an id without a token is nullopt. REQUIRES: no content twice.
  explicit Vocabulary(std::vector<std::optional<std::string>> tokens) : tokens_(std::move(tokens)) {
    ids_.reserve(tokens_.size());
    for (size_t id = 0; id < tokens_.size(); ++id) {
      if (tokens_[id].has_value()) ids_.emplace(*tokens_[id], static_cast<int32_t>(id));
    }
  }
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  // One more than the highest id.
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  // -1 if there is none.
  int32_t Find(absl::string_view content) const {
    const auto it = ids_.find(content);
    return it == ids_.end() ? -1 : it->second;
  }
  bool Contains(int32_t id) const { return id >= 0 && id < size() && tokens_[static_cast<size_t>(id)].has_value(); }
  // REQUIRES: Contains(id).
  absl::string_view Token(int32_t id) const { return *tokens_[static_cast<size_t>(id)]; }

 private:
  std::vector<std::optional<std::string>> tokens_;
  absl::flat_hash_map<absl::string_view, int32_t> ids_;  // views of tokens_, whose elements a move leaves in place
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_VOCABULARY_H_
