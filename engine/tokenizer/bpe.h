// Byte-pair encoding of one word, with byte fallback: exactly Hugging Face's "BPE" model, in O(n log n).
// Layer: engine/tokenizer. Immutable; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_BPE_H_
#define RATION_ENGINE_TOKENIZER_BPE_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/vocabulary.h"

namespace ration {

// The content of byte `byte`'s token, e.g. "<0x0A>".
std::string ByteToken(int byte);

class BpeModel {
 public:
  struct Merge {
    int32_t left = 0, right = 0, merged = 0;  // ids of the vocabulary
    int32_t rank = 0;                         // the lowest is joined first
  };
  struct Options {
    int32_t unk_id = -1;         // -1: characters that nothing covers are dropped
    bool byte_fallback = false;  // a character without a token becomes its bytes' tokens, if there are all of them
    bool fuse_unk = false;       // neighbouring unknown characters give one unk
    bool ignore_merges = false;  // a word that is a token is that token, whatever the merges say
  };

  // Memory that encoding the words of one text shares: words seen before, and work space. At most a few megabytes, plus
  // what the longest word needs. One thread's.
  class Cache {
   public:
    Cache() = default;

   private:
    friend class BpeModel;
    // A symbol of the word under way, in a doubly linked list over the positions.
    struct Symbol {
      int32_t id;    // -1: joined into a symbol on its left
      int32_t prev;  // -1: first
      int32_t next;  // -1: last
    };
    // A pair that could be joined when it was queued; it may have gone since.
    struct Candidate {
      int32_t rank;
      int32_t position;  // of the left symbol
      int32_t merged;
    };
    absl::flat_hash_map<std::string, std::pair<uint32_t, uint32_t>> words_;  // where in ids_, and how many
    std::vector<int32_t> ids_;
    std::vector<int32_t> symbols_;
    std::vector<Symbol> list_;
    std::vector<Candidate> heap_;
  };

  // Of `merges` with equal pairs the last counts. REQUIRES: every id is in `vocabulary`, a merged token's content is that
  // of its parts.
  BpeModel(Vocabulary vocabulary, const std::vector<Merge>& merges, const Options& options);

  // Appends the ids of `word` (valid UTF-8, fewer than 2^31 bytes): its characters, joined pair by pair, lowest rank
  // first, leftmost first among equals. `cache` may have served any words of this model before.
  void Encode(absl::string_view word, Cache& cache, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Rule {
    int32_t rank = 0;
    int32_t merged = 0;
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  }
  // The id of the character that is all of `character`; -1 if it is no token.
  int32_t CharacterId(absl::string_view character) const;
  // A beginning of `word` that no merge joins to what follows; all of it if there is none.
  absl::string_view FirstSegment(absl::string_view word) const;
  void EncodeSegment(absl::string_view segment, Cache& cache, std::vector<int32_t>& ids) const;
  void AppendCharacters(absl::string_view word, std::vector<int32_t>& symbols) const;
  // Join the symbols of `cache` and append what is left of them: a few by looking at all pairs, many by a heap.
  void MergeFew(Cache& cache, std::vector<int32_t>& ids) const;
  void MergeMany(Cache& cache, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  Options options_;
  absl::flat_hash_map<uint64_t, Rule> rules_;
  std::array<int32_t, 256> byte_ids_;         // -1: no token
  std::array<int32_t, 0x180> character_ids_;  // of the first code points; -1: no token
  // The characters between which a merge may join: (last of its left part, first of its right). Everywhere else a word
  // can be cut before it is encoded, which is what makes a whole text without words quick.
  absl::flat_hash_set<uint64_t> joints_;
  bool can_cut_ = true;  // false if a merge has a part that is no text, such as a byte's token
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_BPE_H_
