// The page tables of the KV cache: gives slots to tokens as they are routed, moves tokens to cheaper experts (regroup), moves pages
// when the pool gets smaller, frees pages whose tokens a layer's sliding window has left, and takes everything back when a sequence ends. Owns no bytes (KvStore does) and promises nothing about
// the future (KvBudget does): it keeps the books of what is.
// Layer: engine/kv_cache. Thread-compatible: used only by the engine thread.
//
// Invariants: (1) used_pages() <= num_pages(). (2) Every page of a page table is live in the pool, and in exactly one page table (no
// sharing yet). (3) num_slots of a table needs exactly ceil(num_slots / slots_per_page) pages, and it has those: all but the last are
// full. (4) In a layer with a window every page holds a token of it, or one that left it with the last step.
#ifndef RATION_ENGINE_KV_CACHE_KV_CACHE_MANAGER_H_
#define RATION_ENGINE_KV_CACHE_KV_CACHE_MANAGER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/kv_cache/kv_store.h"
#include "engine/kv_cache/page_pool.h"
#include "kernels/paged_kv_view.h"

namespace ration {

class KvCacheManager;

// The pages of one sequence: a page table per (layer, expert). Returns its pages when destroyed; must not outlive the manager.
class SequenceKv {
 public:
  ~SequenceKv();
  SequenceKv(const SequenceKv&) = delete;
  SequenceKv& operator=(const SequenceKv&) = delete;

  // Pointers into the page tables of one layer; valid until the next change of this sequence and layer.
  kernels::PagedKvView View(int64_t layer) const;
  // Tokens cached at `expert` in `layer`.
  int64_t num_tokens(int64_t layer, int expert) const { return table(layer, expert).num_slots; }
  // Tokens cached at `expert` now, summed over the layers.
  int64_t num_token_layers(int expert) const { return token_layers_[expert]; }
  // Tokens ever appended at `expert`, summed over the layers: where routing put them.
  int64_t appended_token_layers(int expert) const { return appended_[expert]; }
  // Tokens that are gone because they left their layer's window, summed over the layers.
  int64_t expired_token_layers() const { return expired_; }
  // Tokens moved to a cheaper expert since, summed over the layers.
  int64_t regrouped_token_layers() const { return regrouped_; }
  int64_t pages_held() const { return pages_held_; }
  int64_t num_pages(int64_t layer, int expert) const { return static_cast<int64_t>(table(layer, expert).pages.size()); }
  // Bytes of the tokens cached, and of the same tokens at full KV; all layers.
  int64_t stored_bytes() const;
  int64_t full_bytes() const;
  // Mean affinity to expert 0 (S_1 of the paper) of the tokens in the index-th page of a table: what regrouping costs least goes first.
  float MeanImportance(int64_t layer, int expert, int64_t index) const;

 private:
  friend class KvCacheManager;
  struct PageTable {
    std::vector<int32_t> pages;
    std::vector<float> importance;  // [pages], sum over the tokens in it
    int32_t num_slots = 0;
    // Where the layer has a window:
    std::vector<int32_t> positions;  // [num_slots], of each token in the sequence
    std::vector<int32_t> newest;     // [pages], the highest position in it
    int32_t num_gone = 0;            // tokens whose pages were freed
    int32_t first_to_go = 0;         // no page can be freed before all positions up to here are outside the window
  };
  explicit SequenceKv(KvCacheManager* manager);
  const PageTable& table(int64_t layer, int expert) const;
  PageTable& table(int64_t layer, int expert);

  KvCacheManager* const manager_;
  size_t index_ = 0;  // in manager_->sequences_
  int64_t pages_held_ = 0;
  int64_t regrouped_ = 0;
  int64_t expired_ = 0;
  std::array<int64_t, kMaxExperts> token_layers_{}, appended_{};
  std::vector<PageTable> tables_;  // [num_layers, num_experts]
};

class KvCacheManager {
 public:
  KvCacheManager(const KvCacheSpec& spec, int64_t num_pages);
  ~KvCacheManager();  // REQUIRES: every SequenceKv is gone

  std::unique_ptr<SequenceKv> NewSequence();

  // Gives each new token a slot in its expert's tail, in order. first_position: of the first token in the sequence; experts:
  // [num_tokens]; scores: [num_tokens, num_experts] router scores, or empty (all alike); slots: [num_tokens], out.
  // REQUIRES: the free pages suffice, see MaxNewPages.
  void Append(SequenceKv& sequence, int64_t layer, int64_t first_position, absl::Span<const uint8_t> experts,
              absl::Span<const float> scores, absl::Span<kernels::KvSlot> slots);
  // Frees the pages of which no token will be seen again by tokens from `next_position` on. Cheap where there is nothing to free.
  void FreeExpired(SequenceKv& sequence, int64_t next_position);
  // At most so many pages does it take to append `num_tokens` tokens in every layer, whichever of the experts marked reachable they
  // go to. Exact for one token.
  int64_t MaxNewPages(const SequenceKv& sequence, absl::Span<const bool> reachable, int64_t num_tokens) const;

  // Moves the tokens of the index-th page of a table to `to`, in place: into the free slots of `to`'s tail page, the rest staying in
  // the page, which becomes the new tail. Appends what the store has to do to `moves` (not closing the chain) and returns the pages
  // freed: 0 or 1. Their bytes are read until the moves are done. REQUIRES: from < to; index in range.
  int64_t RegroupPage(SequenceKv& sequence, int64_t layer, int from, int64_t index, int to,
                      std::vector<kernels::RegroupMove>& moves);

  // More pages, free ones.
  void Grow(int64_t num_pages) { pool_.Grow(num_pages); }
  // Fewer pages: the ids from `num_pages` on are gone, what was in them is to be copied as `copies` (appended) says.
  // REQUIRES: used_pages() <= num_pages <= num_pages().
  void Shrink(int64_t num_pages, std::vector<PageMove>& copies);

  const KvCacheSpec& spec() const { return spec_; }
  int64_t num_pages() const { return pool_.num_pages(); }
  int64_t free_pages() const { return pool_.num_free_pages(); }
  int64_t used_pages() const { return pool_.num_used_pages(); }
  int64_t used_bytes() const { return used_pages() * spec_.page_bytes(); }
  // used_bytes() less the bytes of the tokens stored: half-empty tail pages and what does not divide.
  int64_t waste_bytes() const { return used_bytes() - stored_bytes(); }
  int64_t stored_bytes() const;
  // Tokens cached at `expert`, summed over layers and sequences.
  int64_t num_token_layers(int expert) const { return token_layers_[expert]; }
  // Tokens moved by RegroupPage, summed over layers and sequences, since the start: [from][to].
  using RegroupCounts = std::array<std::array<int64_t, kMaxExperts>, kMaxExperts>;
  const RegroupCounts& regrouped_token_layers() const { return regrouped_; }

  // Dies if an invariant does not hold. O(pages); for tests.
  void CheckInvariants() const;

 private:
  friend class SequenceKv;
  void Release(SequenceKv& sequence);
  // Takes the index-th page out of a table; its last page, which may be partly filled, stays last. Returns how many tokens it had.
  int32_t RemovePage(SequenceKv::PageTable& table, int expert, int64_t index) const;

  const KvCacheSpec spec_;
  PagePool pool_;
  std::array<int64_t, kMaxExperts> token_layers_{};
  RegroupCounts regrouped_{};
  std::vector<SequenceKv*> sequences_;  // live ones
};

}  // namespace ration

#endif  // RATION_ENGINE_KV_CACHE_KV_CACHE_MANAGER_H_
