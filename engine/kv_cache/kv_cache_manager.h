// The scheduler's and the model's view of the KV cache: reserves pages for a sequence when it is admitted, gives slots to its
// tokens as they are routed, and takes everything back when it ends. Owns no bytes (KvStorage does) and knows no scores.
// Layer: engine/kv_cache. Thread-compatible: used only by the engine thread.
//
// Invariants: (1) pages held by a sequence <= its reservation. (2) The sum of reservations <= num_pages, so an append within a
// reservation never fails for want of a page. (3) Every page of a page table is live in the pool, and in exactly one page table (no sharing yet).
// (4) num_slots of a table needs exactly ceil(num_slots / slots_per_page) pages, and it has those.
#ifndef RATION_ENGINE_KV_CACHE_KV_CACHE_MANAGER_H_
#define RATION_ENGINE_KV_CACHE_KV_CACHE_MANAGER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/kv_cache/page_pool.h"
#include "kernels/paged_kv_view.h"

namespace ration {

class KvCacheManager;

// The pages of one sequence: a page table per (layer, expert). Returns its pages and its reservation when destroyed; must not
// outlive the manager.
class SequenceKv {
 public:
  ~SequenceKv();
  SequenceKv(const SequenceKv&) = delete;
  SequenceKv& operator=(const SequenceKv&) = delete;

  // Pointers into the page tables of one layer; valid until the next Append of this sequence and layer.
  kernels::PagedKvView View(int64_t layer) const;
  // Tokens cached at `expert` in `layer`.
  int64_t num_tokens(int64_t layer, int expert) const;
  // Tokens cached at `expert`, summed over the layers.
  int64_t num_token_layers(int expert) const { return token_layers_[expert]; }
  int64_t pages_held() const { return pages_held_; }
  int64_t reserved_pages() const { return reserved_pages_; }

 private:
  friend class KvCacheManager;
  struct PageTable {
    std::vector<int32_t> pages;
    int32_t num_slots = 0;
  };
  SequenceKv(KvCacheManager* manager, int64_t reserved_pages);

  KvCacheManager* const manager_;
  const int64_t reserved_pages_;
  size_t index_ = 0;  // in manager_->sequences_
  int64_t pages_held_ = 0;
  std::array<int64_t, kMaxExperts> token_layers_{};
  std::vector<PageTable> tables_;  // [num_layers, num_experts]
};

class KvCacheManager {
 public:
  KvCacheManager(const KvCacheSpec& spec, int64_t num_pages);
  ~KvCacheManager();  // REQUIRES: every SequenceKv is gone

  // Reserves `pages` for a new sequence; nullptr (and nothing changed) if fewer are unreserved.
  std::unique_ptr<SequenceKv> TryReserve(int64_t pages);

  // Gives each new token a slot in its expert's tail, in order. experts: [num_tokens]; slots: [num_tokens], out.
  // REQUIRES: the pages needed are within the sequence's reservation.
  void Append(SequenceKv& sequence, int64_t layer, absl::Span<const uint8_t> experts, absl::Span<kernels::KvSlot> slots);

  const KvCacheSpec& spec() const { return spec_; }
  int64_t num_pages() const { return pool_.num_pages(); }
  int64_t reserved_pages() const { return reserved_pages_; }
  int64_t unreserved_pages() const { return num_pages() - reserved_pages_; }
  int64_t used_pages() const { return pool_.num_used_pages(); }
  int64_t budget_bytes() const { return num_pages() * spec_.page_bytes(); }
  int64_t used_bytes() const { return used_pages() * spec_.page_bytes(); }
  int64_t reserved_bytes() const { return reserved_pages_ * spec_.page_bytes(); }
  // used_bytes() less the bytes of the tokens stored: half-empty tail pages and what does not divide.
  int64_t waste_bytes() const;
  // Tokens cached at `expert`, summed over layers and sequences.
  int64_t num_token_layers(int expert) const { return token_layers_[expert]; }

  // Dies if an invariant does not hold. O(pages); for tests.
  void CheckInvariants() const;

 private:
  friend class SequenceKv;
  void Release(SequenceKv& sequence);

  const KvCacheSpec spec_;
  PagePool pool_;
  int64_t reserved_pages_ = 0;
  std::array<int64_t, kMaxExperts> token_layers_{};
  std::vector<SequenceKv*> sequences_;  // live ones, for CheckInvariants
};

}  // namespace ration

#endif  // RATION_ENGINE_KV_CACHE_KV_CACHE_MANAGER_H_
