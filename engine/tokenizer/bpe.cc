// See bpe.h.
#include "engine/tokenizer/bpe.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

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

struct ComesLater {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

}  // namespace

std::string ByteToken(int byte) { return absl::StrFormat("<0x%02X>", byte); }

BpeModel::BpeModel(Vocabulary vocabulary, const std::vector<Merge>& merges, const Options& options)
    : vocabulary_(std::move(vocabulary)), options_(options) {
  rules_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    rules_[Key(merges[rank].left, merges[rank].right)] = {static_cast<int32_t>(rank), merges[rank].merged};
  }
  for (int byte = 0; byte < 256; ++byte) byte_ids_[static_cast<size_t>(byte)] = vocabulary_.Find(ByteToken(byte));
}

void BpeModel::Encode(absl::string_view word, std::vector<int32_t>& ids) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const int32_t id = vocabulary_.Find(word); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  std::vector<int32_t> symbols;
  symbols.reserve(word.size());
  AppendCharacters(word, symbols);
  MergeSymbols(symbols, ids);
}

void BpeModel::AppendCharacters(absl::string_view word, std::vector<int32_t>& symbols) const {
  // An unknown is written only when the next known character or the end comes. Bytes in between do not flush it: so
  // does the original, and the order matters to what merges.
  int64_t pending_unknowns = 0;
  const auto flush = [&] {
    symbols.insert(symbols.end(), static_cast<size_t>(pending_unknowns), options_.unk_id);
    pending_unknowns = 0;
  };
  while (!word.empty()) {
    const absl::string_view character = word.substr(0, static_cast<size_t>(Utf8CharLength(word)));
    word.remove_prefix(character.size());
    if (const int32_t id = vocabulary_.Find(character); id >= 0) {
      flush();
      symbols.push_back(id);
      continue;
    }
    if (options_.byte_fallback && std::all_of(character.begin(), character.end(),
                                              [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; })) {
      for (char c : character) symbols.push_back(byte_ids_[static_cast<unsigned char>(c)]);
      continue;
    }
    if (options_.unk_id < 0) continue;
    if (options_.fuse_unk) {
      pending_unknowns = 1;
    } else {
      // The one before is written now, this one waits.
      flush();
      pending_unknowns = 1;
    }
  }
  flush();
}

void BpeModel::MergeSymbols(const std::vector<int32_t>& symbols, std::vector<int32_t>& ids) const {
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<Symbol> list(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    list[static_cast<size_t>(i)] = {symbols[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1};
  }
  const auto at = [&](int32_t position) -> Symbol& { return list[static_cast<size_t>(position)]; };
  const auto rule_of = [&](int32_t left, int32_t right) { return rules_.find(Key(at(left).id, at(right).id)); };

  std::vector<Candidate> heap;
  heap.reserve(symbols.size());
  for (int32_t i = 0; i + 1 < count; ++i) {
    if (const auto rule = rule_of(i, i + 1); rule != rules_.end())
      heap.push_back({rule->second.rank, i, rule->second.merged});
  }
  std::make_heap(heap.begin(), heap.end(), ComesLater());
  const auto push = [&](int32_t left, int32_t right) {
    if (const auto rule = rule_of(left, right); rule != rules_.end()) {
      heap.push_back({rule->second.rank, left, rule->second.merged});
      std::push_heap(heap.begin(), heap.end(), ComesLater());
    }
  };

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), ComesLater());
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = at(top.position);
    if (left.id < 0 || left.next < 0) continue;
    // Stale unless the pair that stands there now gives the same token.
    const auto rule = rule_of(top.position, left.next);
    if (rule == rules_.end() || rule->second.merged != top.merged) continue;

    Symbol& right = at(left.next);
    left.id = top.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) at(left.next).prev = top.position;
    if (left.prev >= 0) push(left.prev, top.position);
    if (left.next >= 0) push(top.position, left.next);
  }
  for (int32_t i = 0; i >= 0 && i < count; i = at(i).next) ids.push_back(at(i).id);
}

}  // namespace ration
