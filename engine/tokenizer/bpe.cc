// See bpe.h.
#include "engine/tokenizer/bpe.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

constexpr size_t kFewSymbols = 32;      // up to here a scan of all pairs beats the heap
constexpr size_t kUncutBytes = 64;      // shorter words are not worth looking for cuts
constexpr size_t kMaxCachedBytes = 48;  // of a word
constexpr size_t kMaxCachedWords = 1 << 15;
constexpr int32_t kNoRank = INT32_MAX;

struct ComesLater {
  template <typename Candidate>
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

}  // namespace

std::string ByteToken(int byte) { return absl::StrFormat("<0x%02X>", byte); }

BpeModel::BpeModel(Vocabulary vocabulary, const std::vector<Merge>& merges, const Options& options)
    : vocabulary_(std::move(vocabulary)), options_(options) {
  for (int byte = 0; byte < 256; ++byte) byte_ids_[static_cast<size_t>(byte)] = vocabulary_.Find(ByteToken(byte));
  for (size_t c = 0; c < character_ids_.size(); ++c) {
    const char utf8[2] = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
    const char ascii = static_cast<char>(c);
    character_ids_[c] = vocabulary_.Find(c < 0x80 ? absl::string_view(&ascii, 1) : absl::string_view(utf8, 2));
  }

  absl::flat_hash_set<int32_t> not_text;
  if (options_.byte_fallback) not_text.insert(byte_ids_.begin(), byte_ids_.end());
  not_text.insert(options_.unk_id);
  rules_.reserve(merges.size());
  for (const Merge& merge : merges) {
    rules_[Key(merge.left, merge.right)] = {merge.rank, merge.merged};
    const absl::string_view left = vocabulary_.Token(merge.left), right = vocabulary_.Token(merge.right);
    if (left.empty() || right.empty() || not_text.contains(merge.left) || not_text.contains(merge.right)) {
      can_cut_ = false;
      continue;
    }
    joints_.insert((uint64_t{FirstCodePoint(left.substr(LastCharOffset(left)))} << 32) | FirstCodePoint(right));
  }
}

void BpeModel::Encode(absl::string_view word, Cache& cache, std::vector<int32_t>& ids) const {
  if (word.empty()) return;
  if (options_.ignore_merges) {
    if (const int32_t id = vocabulary_.Find(word); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  if (word.size() < kUncutBytes || !can_cut_) return EncodeSegment(word, cache, ids);
  while (!word.empty()) {
    const absl::string_view segment = FirstSegment(word);
    EncodeSegment(segment, cache, ids);
    word.remove_prefix(segment.size());
  }
}

int32_t BpeModel::CharacterId(absl::string_view character) const {
  const char32_t c = FirstCodePoint(character);
  return c < character_ids_.size() ? character_ids_[c] : vocabulary_.Find(character);
}

absl::string_view BpeModel::FirstSegment(absl::string_view word) const {
  char32_t previous = 0;
  bool known = false;  // the previous character is a token; an unknown one belongs to what is beside it
  for (size_t at = 0; at < word.size();) {
    const absl::string_view character = word.substr(at, static_cast<size_t>(Utf8CharLength(word.substr(at))));
    const char32_t c = FirstCodePoint(character);
    const bool was_known = known;
    known = CharacterId(character) >= 0;
    if (was_known && known && !joints_.contains((uint64_t{previous} << 32) | c)) return word.substr(0, at);
    previous = c;
    at += character.size();
  }
  return word;
}

void BpeModel::EncodeSegment(absl::string_view segment, Cache& cache, std::vector<int32_t>& ids) const {
  const bool cached = segment.size() <= kMaxCachedBytes;
  if (cached) {
    if (const auto it = cache.words_.find(segment); it != cache.words_.end()) {
      const auto begin = cache.ids_.begin() + it->second.first;
      ids.insert(ids.end(), begin, begin + it->second.second);
      return;
    }
  }
  const size_t first = ids.size();
  cache.symbols_.clear();
  AppendCharacters(segment, cache.symbols_);
  if (cache.symbols_.size() <= kFewSymbols) {
    MergeFew(cache, ids);
  } else {
    MergeMany(cache, ids);
  }
  if (cached && cache.words_.size() < kMaxCachedWords) {
    cache.words_.try_emplace(std::string(segment), static_cast<uint32_t>(cache.ids_.size()),
                             static_cast<uint32_t>(ids.size() - first));
    cache.ids_.insert(cache.ids_.end(), ids.begin() + static_cast<int64_t>(first), ids.end());
  }
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
    if (const int32_t id = CharacterId(character); id >= 0) {
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
    // Unless they are fused, the one before is written now; this one waits.
    if (!options_.fuse_unk) flush();
    pending_unknowns = 1;
  }
  flush();
}

void BpeModel::MergeFew(Cache& cache, std::vector<int32_t>& ids) const {
  int32_t symbols[kFewSymbols], ranks[kFewSymbols], merged[kFewSymbols];  // [i]: of the pair i, i + 1
  size_t count = cache.symbols_.size();
  std::copy(cache.symbols_.begin(), cache.symbols_.end(), symbols);
  const auto look_up = [&](size_t i) {
    const auto rule = i + 1 < count ? rules_.find(Key(symbols[i], symbols[i + 1])) : rules_.end();
    ranks[i] = rule == rules_.end() ? kNoRank : rule->second.rank;
    merged[i] = rule == rules_.end() ? -1 : rule->second.merged;
  };
  for (size_t i = 0; i < count; ++i) look_up(i);
  while (count > 1) {
    const auto best = static_cast<size_t>(std::min_element(ranks, ranks + count) - ranks);  // the leftmost of equals
    if (ranks[best] == kNoRank) break;
    symbols[best] = merged[best];
    std::copy(symbols + best + 2, symbols + count, symbols + best + 1);
    std::copy(ranks + best + 2, ranks + count, ranks + best + 1);
    std::copy(merged + best + 2, merged + count, merged + best + 1);
    --count;
    look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids.insert(ids.end(), symbols, symbols + count);
}

void BpeModel::MergeMany(Cache& cache, std::vector<int32_t>& ids) const {
  const auto count = static_cast<int32_t>(cache.symbols_.size());
  std::vector<Cache::Symbol>& list = cache.list_;
  list.resize(cache.symbols_.size());
  for (int32_t i = 0; i < count; ++i) {
    list[static_cast<size_t>(i)] = {cache.symbols_[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1};
  }
  const auto at = [&](int32_t position) -> Cache::Symbol& { return list[static_cast<size_t>(position)]; };
  const auto rule_of = [&](int32_t left, int32_t right) { return rules_.find(Key(at(left).id, at(right).id)); };

  std::vector<Cache::Candidate>& heap = cache.heap_;
  heap.clear();
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
    const Cache::Candidate top = heap.back();
    heap.pop_back();
    Cache::Symbol& left = at(top.position);
    if (left.id < 0 || left.next < 0) continue;
    // Stale unless the pair that stands there now gives the same token.
    const auto rule = rule_of(top.position, left.next);
    if (rule == rules_.end() || rule->second.merged != top.merged) continue;

    Cache::Symbol& right = at(left.next);
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
