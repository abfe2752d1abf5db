// Byte-pair encoding of one word, with byte fallback: exactly Hugging Face's "BPE" model, in O(n log n).
// Layer: engine/tokenizer. Immutable; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_BPE_H_
#define RATION_ENGINE_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/vocabulary.h"

namespace ration {

// The content of byte `byte`'s token, e.g. "<0x0A>".
std::string ByteToken(int byte);

class BpeModel {
 public:
  struct Merge {
    int32_t left = 0, right = 0, merged = 0;  // ids of the vocabulary
  };
  struct Options {
    int32_t unk_id = -1;         // -1: characters that nothing covers are dropped
    bool byte_fallback = false;  // a character without a token becomes its bytes' tokens, if there are all of them
    bool fuse_unk = false;       // neighbouring unknown characters give one unk
    bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  };

  // `merges` in order of rank; of equal pairs the last counts. REQUIRES: every id is in `vocabulary`.
  BpeModel(Vocabulary vocabulary, const std::vector<Merge>& merges, const Options& options);

  // Appends the ids of `word` (valid UTF-8, fewer than 2^31 bytes): its characters, joined pair by pair, lowest rank
  // first, leftmost first among equals.
  void Encode(absl::string_view word, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Rule {
    int32_t rank = 0;
    int32_t merged = 0;
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  }
  void AppendCharacters(absl::string_view word, std::vector<int32_t>& symbols) const;
  // Joins the symbols of one word and appends what is left of them.
  void MergeSymbols(const std::vector<int32_t>& symbols, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  Options options_;
  absl::flat_hash_map<uint64_t, Rule> rules_;
  std::array<int32_t, 256> byte_ids_;  // -1: no token
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_BPE_H_
