// Finds tokenizer.json's "added_tokens" inside a text: "</s>" in a prompt is the end token, not four characters.
// Layer: engine/tokenizer. Immutable; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_ADDED_TOKENS_H_
#define RATION_ENGINE_TOKENIZER_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace ration {

struct AddedToken {
  int32_t id = 0;
  std::string content;       // not empty
  bool special = false;      // left out by Decode with skip_special_tokens
  bool normalized = false;   // normalised content is looked for in normalised text; else content in raw text
  bool exact = false;        // with `normalized`: the content is normalised already
  bool single_word = false;  // not next to a word character
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // ... and after it
};

class AddedTokenMatcher {
 public:
  struct Pattern {
    std::string text;  // an empty one never matches; of equal ones the first counts
    AddedToken token;
  };
  struct Piece {
    absl::string_view text;
    int32_t id = -1;  // -1: ordinary text
  };

  explicit AddedTokenMatcher(std::vector<Pattern> patterns);

  // Cuts `text` (valid UTF-8) into tokens and the text between them, in order; no piece is empty text. From the left,
  // the longest pattern first. Appends to `pieces`, which view `text`.
  void Split(absl::string_view text, std::vector<Piece>& pieces) const;

 private:
  struct Found {
    int32_t pattern = -1;
    size_t length = 0;
  };
  // The longest pattern at the beginning of `text`.
  Found Longest(absl::string_view text) const;

  std::vector<Pattern> patterns_;
  // A trie: (node << 8 | byte) -> child; node 0 is the root.
  absl::flat_hash_map<uint64_t, uint32_t> children_;
  std::vector<int32_t> pattern_at_node_;  // -1: none ends here
  std::array<bool, 256> first_byte_{};
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_ADDED_TOKENS_H_
