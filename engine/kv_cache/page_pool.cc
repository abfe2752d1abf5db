#include "engine/kv_cache/page_pool.h"

#include <algorithm>
#include <limits>

#include "engine/base/check.h"

namespace ration {

PagePool::PagePool(int64_t num_pages) {
  RATION_CHECK(num_pages >= 0 && num_pages <= std::numeric_limits<int32_t>::max());
  references_.assign(num_pages, 0);
  free_.resize(num_pages);
  for (int64_t i = 0; i < num_pages; ++i) free_[i] = static_cast<int32_t>(num_pages - 1 - i);
}

bool PagePool::TryAllocate(int64_t count, std::vector<int32_t>& pages) {
  RATION_CHECK(count >= 0);
  if (count > num_free_pages()) return false;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t page = free_.back();
    free_.pop_back();
    references_[page] = 1;
    pages.push_back(page);
  }
  return true;
}

void PagePool::AddReference(int32_t page) {
  RATION_CHECK(page >= 0 && page < num_pages() && references_[page] > 0);
  ++references_[page];
}

void PagePool::Release(int32_t page) {
  RATION_CHECK(page >= 0 && page < num_pages() && references_[page] > 0);
  if (--references_[page] == 0) free_.push_back(page);
}

void PagePool::Grow(int64_t num_pages) {
  RATION_CHECK(num_pages >= this->num_pages() && num_pages <= std::numeric_limits<int32_t>::max());
  // Below the ids already free in the stack: fresh pages are taken last, in ascending order.
  std::vector<int32_t> fresh;
  for (int64_t id = num_pages - 1; id >= this->num_pages(); --id) fresh.push_back(static_cast<int32_t>(id));
  free_.insert(free_.begin(), fresh.begin(), fresh.end());
  references_.resize(num_pages, 0);
}

void PagePool::Shrink(int64_t num_pages, std::vector<PageMove>& moved) {
  RATION_CHECK(num_pages >= num_used_pages() && num_pages <= this->num_pages());
  free_.erase(std::remove_if(free_.begin(), free_.end(), [num_pages](int32_t id) { return id >= num_pages; }),
              free_.end());
  for (int64_t id = num_pages; id < this->num_pages(); ++id) {
    if (references_[id] == 0) continue;
    const int32_t to = free_.back();
    free_.pop_back();
    references_[to] = references_[id];
    moved.push_back({static_cast<int32_t>(id), to});
  }
  references_.resize(num_pages);
  references_.shrink_to_fit();
}

void PagePool::CheckInvariants() const {
  std::vector<bool> is_free(references_.size(), false);
  for (int32_t page : free_) {
    RATION_CHECK(page >= 0 && page < num_pages());
    RATION_CHECK(!is_free[page]);
    RATION_CHECK(references_[page] == 0);
    is_free[page] = true;
  }
  for (int64_t page = 0; page < num_pages(); ++page) {
    RATION_CHECK(is_free[page] || references_[page] > 0);
  }
}

}  // namespace ration
