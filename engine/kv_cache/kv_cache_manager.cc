#include "engine/kv_cache/kv_cache_manager.h"

#include "absl/memory/memory.h"
#include "engine/base/check.h"

namespace ration {

SequenceKv::SequenceKv(KvCacheManager* manager, int64_t reserved_pages)
    : manager_(manager),
      reserved_pages_(reserved_pages),
      tables_(manager->spec().num_layers() * manager->spec().num_experts()) {}

SequenceKv::~SequenceKv() { manager_->Release(*this); }

kernels::PagedKvView SequenceKv::View(int64_t layer) const {
  const int num_experts = manager_->spec().num_experts();
  RATION_CHECK(layer >= 0 && layer < manager_->spec().num_layers());
  kernels::PagedKvView view;
  for (int e = 0; e < num_experts; ++e) {
    const PageTable& table = tables_[layer * num_experts + e];
    view.experts[e] = {table.pages.data(), table.num_slots};
  }
  return view;
}

int64_t SequenceKv::num_tokens(int64_t layer, int expert) const {
  return tables_[layer * manager_->spec().num_experts() + expert].num_slots;
}

KvCacheManager::KvCacheManager(const KvCacheSpec& spec, int64_t num_pages) : spec_(spec), pool_(num_pages) {}

KvCacheManager::~KvCacheManager() { RATION_CHECK(sequences_.empty()); }

std::unique_ptr<SequenceKv> KvCacheManager::TryReserve(int64_t pages) {
  RATION_CHECK(pages >= 0);
  if (pages > unreserved_pages()) return nullptr;
  reserved_pages_ += pages;
  auto sequence = absl::WrapUnique(new SequenceKv(this, pages));
  sequence->index_ = sequences_.size();
  sequences_.push_back(sequence.get());
  return sequence;
}

void KvCacheManager::Append(SequenceKv& sequence, int64_t layer, absl::Span<const uint8_t> experts,
                            absl::Span<kernels::KvSlot> slots) {
  RATION_CHECK(sequence.manager_ == this && experts.size() == slots.size());
  RATION_CHECK(layer >= 0 && layer < spec_.num_layers());
  const int num_experts = spec_.num_experts();
  SequenceKv::PageTable* const tables = &sequence.tables_[layer * num_experts];
  for (size_t t = 0; t < experts.size(); ++t) {
    const int expert = experts[t];
    RATION_CHECK(expert < num_experts);
    SequenceKv::PageTable& table = tables[expert];
    const int32_t slots_per_page = spec_.layout().slots_per_page[expert];
    const int32_t slot = table.num_slots % slots_per_page;
    if (slot == 0) {
      RATION_CHECK(sequence.pages_held_ < sequence.reserved_pages_);
      RATION_CHECK(pool_.TryAllocate(1, table.pages));
      ++sequence.pages_held_;
    }
    slots[t] = {table.pages.back(), slot, expert};
    ++table.num_slots;
    ++sequence.token_layers_[expert];
    ++token_layers_[expert];
  }
}

int64_t KvCacheManager::waste_bytes() const {
  int64_t stored = 0;
  for (int e = 0; e < spec_.num_experts(); ++e) stored += token_layers_[e] * spec_.bytes_per_token_layer(e);
  return used_bytes() - stored;
}

void KvCacheManager::Release(SequenceKv& sequence) {
  // Backwards, so that the next sequence gets the pages in the order this one had them.
  for (auto table = sequence.tables_.rbegin(); table != sequence.tables_.rend(); ++table) {
    for (auto page = table->pages.rbegin(); page != table->pages.rend(); ++page) pool_.Release(*page);
  }
  for (int e = 0; e < spec_.num_experts(); ++e) token_layers_[e] -= sequence.token_layers_[e];
  reserved_pages_ -= sequence.reserved_pages_;
  SequenceKv* const last = sequences_.back();
  last->index_ = sequence.index_;
  sequences_[sequence.index_] = last;
  sequences_.pop_back();
}

void KvCacheManager::CheckInvariants() const {
  pool_.CheckInvariants();
  std::vector<bool> owned(pool_.num_pages(), false);
  std::array<int64_t, kMaxExperts> all_tokens{};
  int64_t all_pages = 0, all_reserved = 0;
  for (size_t i = 0; i < sequences_.size(); ++i) {
    const SequenceKv& sequence = *sequences_[i];
    RATION_CHECK(sequence.index_ == i && sequence.manager_ == this);
    std::array<int64_t, kMaxExperts> tokens{};
    int64_t pages = 0;
    for (size_t t = 0; t < sequence.tables_.size(); ++t) {
      const SequenceKv::PageTable& table = sequence.tables_[t];
      const int expert = static_cast<int>(t % spec_.num_experts());
      const int64_t slots = spec_.slots_per_page(expert);
      RATION_CHECK(static_cast<int64_t>(table.pages.size()) == (table.num_slots + slots - 1) / slots);
      for (int32_t page : table.pages) {
        RATION_CHECK(page >= 0 && page < pool_.num_pages());
        RATION_CHECK(pool_.references(page) == 1);
        RATION_CHECK(!owned[page]);
        owned[page] = true;
      }
      pages += static_cast<int64_t>(table.pages.size());
      tokens[expert] += table.num_slots;
    }
    RATION_CHECK(pages == sequence.pages_held_ && pages <= sequence.reserved_pages_);
    RATION_CHECK(tokens == sequence.token_layers_);
    for (int e = 0; e < kMaxExperts; ++e) all_tokens[e] += tokens[e];
    all_pages += pages;
    all_reserved += sequence.reserved_pages_;
  }
  RATION_CHECK(all_pages == pool_.num_used_pages());
  RATION_CHECK(all_reserved == reserved_pages_ && all_reserved <= pool_.num_pages());
  RATION_CHECK(all_tokens == token_layers_);
  RATION_CHECK(waste_bytes() >= 0);
}

}  // namespace ration
