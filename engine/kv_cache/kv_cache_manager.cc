#include "engine/kv_cache/kv_cache_manager.h"

#include <algorithm>

#include "absl/memory/memory.h"
#include "engine/base/check.h"

namespace ration {

SequenceKv::SequenceKv(KvCacheManager* manager)
    : manager_(manager), tables_(manager->spec().num_layers() * manager->spec().num_experts()) {}

SequenceKv::~SequenceKv() { manager_->Release(*this); }

const SequenceKv::PageTable& SequenceKv::table(int64_t layer, int expert) const {
  return tables_[layer * manager_->spec().num_experts() + expert];
}

SequenceKv::PageTable& SequenceKv::table(int64_t layer, int expert) {
  return tables_[layer * manager_->spec().num_experts() + expert];
}

kernels::PagedKvView SequenceKv::View(int64_t layer) const {
  RATION_CHECK(layer >= 0 && layer < manager_->spec().num_layers());
  kernels::PagedKvView view;
  for (int e = 0; e < manager_->spec().num_experts(); ++e) {
    const PageTable& t = table(layer, e);
    view.experts[e].pages = t.pages.data();
    view.experts[e].num_slots = t.num_slots;
    if (manager_->spec().window(layer) > 0) {
      view.experts[e].positions = t.positions.data();
      view.experts[e].num_gone = t.num_gone;
    }
  }
  return view;
}

int64_t SequenceKv::stored_bytes() const {
  int64_t bytes = 0;
  for (int e = 0; e < manager_->spec().num_experts(); ++e) {
    bytes += token_layers_[e] * manager_->spec().bytes_per_token_layer(e);
  }
  return bytes;
}

int64_t SequenceKv::full_bytes() const {
  int64_t tokens = 0;
  for (int64_t count : token_layers_) tokens += count;
  return tokens * manager_->spec().bytes_per_token_layer(0);
}

float SequenceKv::MeanImportance(int64_t layer, int expert, int64_t index) const {
  const PageTable& t = table(layer, expert);
  const int64_t slots = manager_->spec().slots_per_page(expert);
  const int64_t tokens = std::min(slots, t.num_slots - index * slots);
  return t.importance[index] / static_cast<float>(tokens);
}

KvCacheManager::KvCacheManager(const KvCacheSpec& spec, int64_t num_pages) : spec_(spec), pool_(num_pages) {}

KvCacheManager::~KvCacheManager() { RATION_CHECK(sequences_.empty()); }

std::unique_ptr<SequenceKv> KvCacheManager::NewSequence() {
  auto sequence = absl::WrapUnique(new SequenceKv(this));
  sequence->index_ = sequences_.size();
  sequences_.push_back(sequence.get());
  return sequence;
}

void KvCacheManager::Append(SequenceKv& sequence, int64_t layer, int64_t first_position, absl::Span<const uint8_t> experts,
                            absl::Span<const float> scores, absl::Span<kernels::KvSlot> slots) {
  const int num_experts = spec_.num_experts();
  RATION_CHECK(sequence.manager_ == this && experts.size() == slots.size());
  RATION_CHECK(scores.empty() || scores.size() == experts.size() * num_experts);
  RATION_CHECK(layer >= 0 && layer < spec_.num_layers());
  const bool has_window = spec_.window(layer) > 0;
  for (size_t t = 0; t < experts.size(); ++t) {
    const int expert = experts[t];
    RATION_CHECK(expert < num_experts);
    SequenceKv::PageTable& table = sequence.table(layer, expert);
    const int32_t slot = table.num_slots % spec_.layout().slots_per_page[expert];
    if (slot == 0) {
      RATION_CHECK(pool_.TryAllocate(1, table.pages));
      table.importance.push_back(0);
      if (has_window) table.newest.push_back(0);
      ++sequence.pages_held_;
    }
    if (has_window) {
      const int32_t position = static_cast<int32_t>(first_position) + static_cast<int32_t>(t);
      table.positions.push_back(position);
      table.newest.back() = position;
    }
    // Not a number counts as 0: importance is sorted by.
    if (!scores.empty() && scores[t * num_experts] > 0) table.importance.back() += scores[t * num_experts];
    slots[t] = {table.pages.back(), slot, expert};
    ++table.num_slots;
    ++sequence.token_layers_[expert];
    ++sequence.appended_[expert];
    ++token_layers_[expert];
  }
}

int64_t KvCacheManager::MaxNewPages(const SequenceKv& sequence, absl::Span<const bool> reachable,
                                    int64_t num_tokens) const {
  int64_t pages = 0, num_reachable = 0, fewest_slots = 0;
  for (int e = spec_.num_experts() - 1; e >= 0; --e) {
    if (!reachable[e]) continue;
    ++num_reachable;
    fewest_slots = spec_.slots_per_page(e);
  }
  for (int64_t layer = 0; layer < spec_.num_layers(); ++layer) {
    if (num_tokens > 1) {
      // n_e tokens take at most ceil(n_e / s_e) pages each; all but one of the roundings come on top of the whole.
      pages += std::min(num_tokens, (num_tokens + fewest_slots - 1) / fewest_slots + num_reachable - 1);
      continue;
    }
    for (int e = 0; e < spec_.num_experts(); ++e) {
      if (!reachable[e] || sequence.num_tokens(layer, e) % spec_.slots_per_page(e) != 0) continue;
      ++pages;
      break;
    }
  }
  return pages;
}

int64_t KvCacheManager::RegroupPage(SequenceKv& sequence, int64_t layer, int from, int64_t index, int to,
                                    std::vector<kernels::RegroupMove>& moves) {
  RATION_CHECK(sequence.manager_ == this && from >= 0 && from < to && to < spec_.num_experts());
  SequenceKv::PageTable& source = sequence.table(layer, from);
  SequenceKv::PageTable& target = sequence.table(layer, to);
  const int32_t source_slots = spec_.layout().slots_per_page[from], target_slots = spec_.layout().slots_per_page[to];
  RATION_CHECK(index >= 0 && index < static_cast<int64_t>(source.pages.size()));
  const int32_t page = source.pages[index];
  const float sum = source.importance[index];
  const bool has_window = spec_.window(layer) > 0;
  if (has_window) {
    const auto begin = source.positions.begin() + index * source_slots;
    target.positions.insert(target.positions.end(), begin, begin + std::min<int64_t>(source_slots, source.positions.end() - begin));
  }
  const int32_t count = RemovePage(source, from, index);
  const float importance = sum / static_cast<float>(count);

  const int32_t used = target.num_slots % target_slots;
  const int32_t into_tail = used == 0 ? 0 : std::min(count, target_slots - used);
  if (into_tail > 0) {
    moves.push_back({page, target.pages.back(), 0, used, into_tail, static_cast<int16_t>(from), static_cast<int16_t>(to)});
    target.importance.back() += importance * static_cast<float>(into_tail);
  }
  const int32_t rest = count - into_tail;
  if (rest > 0) {
    moves.push_back({page, page, into_tail, 0, rest, static_cast<int16_t>(from), static_cast<int16_t>(to)});
    target.pages.push_back(page);
    target.importance.push_back(importance * static_cast<float>(rest));
  } else {
    pool_.Release(page);
    --sequence.pages_held_;
  }
  target.num_slots += count;
  if (has_window) {
    // The pages that got tokens, and the least of what may be freed next.
    for (size_t i = target.num_slots > count ? (target.num_slots - count) / target_slots : 0; i < target.pages.size(); ++i) {
      const auto begin = target.positions.begin() + static_cast<int64_t>(i) * target_slots;
      const auto end = target.positions.begin() + std::min<int64_t>((static_cast<int64_t>(i) + 1) * target_slots, target.num_slots);
      const int32_t newest = *std::max_element(begin, end);
      if (i < target.newest.size()) {
        target.newest[i] = newest;
      } else {
        target.newest.push_back(newest);
      }
      target.first_to_go = std::min(target.first_to_go, newest);
    }
  }
  for (std::array<int64_t, kMaxExperts>* tokens : {&sequence.token_layers_, &token_layers_}) {
    (*tokens)[from] -= count;
    (*tokens)[to] += count;
  }
  sequence.regrouped_ += count;
  regrouped_[from][to] += count;
  return rest > 0 ? 0 : 1;
}

int32_t KvCacheManager::RemovePage(SequenceKv::PageTable& table, int expert, int64_t index) const {
  const int64_t slots = spec_.slots_per_page(expert), last = static_cast<int64_t>(table.pages.size()) - 1;
  const int32_t count = static_cast<int32_t>(index < last ? slots : table.num_slots - last * slots);
  // What is behind it moves up: its order may be that of positions.
  table.pages.erase(table.pages.begin() + index);
  table.importance.erase(table.importance.begin() + index);
  if (!table.newest.empty()) {
    const auto begin = table.positions.begin() + index * slots;
    table.positions.erase(begin, begin + count);
    table.newest.erase(table.newest.begin() + index);
  }
  table.num_slots -= count;
  return count;
}

void KvCacheManager::FreeExpired(SequenceKv& sequence, int64_t next_position) {
  if (!spec_.has_windows()) return;
  RATION_CHECK(sequence.manager_ == this);
  for (int64_t layer = 0; layer < spec_.num_layers(); ++layer) {
    const int64_t oldest = next_position - spec_.window(layer) + 1;  // that is still seen
    if (spec_.window(layer) == 0 || oldest <= 0) continue;
    for (int e = 0; e < spec_.num_experts(); ++e) {
      SequenceKv::PageTable& table = sequence.table(layer, e);
      if (table.pages.empty() || table.first_to_go >= oldest) continue;
      for (int64_t i = static_cast<int64_t>(table.pages.size()) - 1; i >= 0; --i) {
        if (table.newest[i] >= oldest) continue;
        pool_.Release(table.pages[i]);
        --sequence.pages_held_;
        const int32_t count = RemovePage(table, e, i);
        table.num_gone += count;
        sequence.expired_ += count;
        sequence.token_layers_[e] -= count;
        token_layers_[e] -= count;
      }
      table.first_to_go = table.newest.empty() ? 0 : *std::min_element(table.newest.begin(), table.newest.end());
    }
  }
}

void KvCacheManager::Shrink(int64_t num_pages, std::vector<PageMove>& copies) {
  const size_t first = copies.size();
  pool_.Shrink(num_pages, copies);
  if (copies.size() == first) return;
  std::vector<int32_t> moved_to(copies.back().from + 1 - num_pages, -1);  // by id - num_pages; `from` ascends
  for (size_t i = first; i < copies.size(); ++i) moved_to[copies[i].from - num_pages] = copies[i].to;
  for (SequenceKv* sequence : sequences_) {
    for (SequenceKv::PageTable& table : sequence->tables_) {
      for (int32_t& page : table.pages) {
        if (page >= num_pages) page = moved_to[page - num_pages];
      }
    }
  }
}

int64_t KvCacheManager::stored_bytes() const {
  int64_t stored = 0;
  for (int e = 0; e < spec_.num_experts(); ++e) stored += token_layers_[e] * spec_.bytes_per_token_layer(e);
  return stored;
}

void KvCacheManager::Release(SequenceKv& sequence) {
  // Backwards, so that the next sequence gets the pages in the order this one had them.
  for (auto table = sequence.tables_.rbegin(); table != sequence.tables_.rend(); ++table) {
    for (auto page = table->pages.rbegin(); page != table->pages.rend(); ++page) pool_.Release(*page);
  }
  for (int e = 0; e < spec_.num_experts(); ++e) token_layers_[e] -= sequence.token_layers_[e];
  SequenceKv* const last = sequences_.back();
  last->index_ = sequence.index_;
  sequences_[sequence.index_] = last;
  sequences_.pop_back();
}

void KvCacheManager::CheckInvariants() const {
  pool_.CheckInvariants();
  std::vector<bool> owned(pool_.num_pages(), false);
  std::array<int64_t, kMaxExperts> all_tokens{};
  int64_t all_pages = 0;
  const int num_experts = spec_.num_experts();
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const SequenceKv& sequence = *sequences_[i];
    RATION_CHECK(sequence.index_ == i && sequence.manager_ == this);
    std::array<int64_t, kMaxExperts> tokens{};
    int64_t pages = 0, appended = 0, held = 0;
    for (size_t t = 0; t < sequence.tables_.size(); ++t) {
      const SequenceKv::PageTable& table = sequence.tables_[t];
      const int expert = static_cast<int>(t % num_experts);
      const int64_t slots = spec_.slots_per_page(expert);
      RATION_CHECK(table.num_slots >= 0 && table.importance.size() == table.pages.size());
      RATION_CHECK(static_cast<int64_t>(table.pages.size()) == (table.num_slots + slots - 1) / slots);
      if (spec_.window(static_cast<int64_t>(t) / num_experts) > 0) {
        RATION_CHECK(static_cast<int64_t>(table.positions.size()) == table.num_slots && table.newest.size() == table.pages.size());
        for (size_t i = 0; i < table.positions.size(); ++i) RATION_CHECK(table.positions[i] <= table.newest[i / slots]);
        for (int32_t newest : table.newest) RATION_CHECK(newest >= table.first_to_go);
      }
      for (int32_t page : table.pages) {
        RATION_CHECK(page >= 0 && page < pool_.num_pages());
        RATION_CHECK(pool_.references(page) == 1);
        RATION_CHECK(!owned[page]);
        owned[page] = true;
      }
      pages += static_cast<int64_t>(table.pages.size());
      tokens[expert] += table.num_slots;
      held += table.num_slots;
    }
    RATION_CHECK(pages == sequence.pages_held_);
    RATION_CHECK(tokens == sequence.token_layers_);
    for (int64_t count : sequence.appended_) appended += count;
    RATION_CHECK(appended == held + sequence.expired_);
    for (int e = 0; e < kMaxExperts; ++e) all_tokens[e] += tokens[e];
    all_pages += pages;
  }
  RATION_CHECK(all_pages == pool_.num_used_pages());
  RATION_CHECK(all_tokens == token_layers_);
  RATION_CHECK(waste_bytes() >= 0);
}

}  // namespace ration
