// Page allocator for the KV cache. Hands out page ids and counts references; knows nothing about experts, tensors
// or devices.
// Layer: engine/kv_cache (below the manager, above nothing). Thread-compatible: used only by the engine thread.
//
// Invariants: (1) num_free_pages() + number of live ids == num_pages(). (2) An id is free or live, never both; a live id has a
// reference count >= 1, a free one 0.
#ifndef RATION_ENGINE_KV_CACHE_PAGE_POOL_H_
#define RATION_ENGINE_KV_CACHE_PAGE_POOL_H_

#include <cstdint>
#include <vector>

namespace ration {

// What page `from` held is now in page `to`.
struct PageMove {
  int32_t from = 0;
  int32_t to = 0;
};

class PagePool {
 public:
  // REQUIRES: 0 <= num_pages <= 2^31 - 1.
  explicit PagePool(int64_t num_pages);

  // Takes `count` pages with one reference each, O(count): the most recently released first (they are warm and backed by memory
  // already), then fresh ones in ascending order. Returns false and changes nothing if fewer are free. Appends to `pages`.
  // REQUIRES: count >= 0.
  bool TryAllocate(int64_t count, std::vector<int32_t>& pages);
  // One reference more. REQUIRES: page is live.
  void AddReference(int32_t page);
  // One reference less; the page becomes free with the last. REQUIRES: page is live.
  void Release(int32_t page);

  // More ids: the new ones are free. REQUIRES: num_pages() <= num_pages <= 2^31 - 1.
  void Grow(int64_t num_pages);
  // Fewer ids: those from `num_pages` on are gone. Live ones among them take free ids below it, with their references; each such
  // pair is appended to `moved`. O(num_pages()). REQUIRES: num_used_pages() <= num_pages <= num_pages().
  void Shrink(int64_t num_pages, std::vector<PageMove>& moved);

  int64_t num_pages() const { return static_cast<int64_t>(references_.size()); }
  int64_t num_free_pages() const { return static_cast<int64_t>(free_.size()); }
  int64_t num_used_pages() const { return num_pages() - num_free_pages(); }
  int32_t references(int32_t page) const { return references_[page]; }

  // Dies if an invariant does not hold. O(num_pages); for tests.
  void CheckInvariants() const;

 private:
  std::vector<int32_t> references_;  // [num_pages]; 0: free
  std::vector<int32_t> free_;        // stack of free ids
};

}  // namespace ration

#endif  // RATION_ENGINE_KV_CACHE_PAGE_POOL_H_
