// The bytes of a KV cache without bytes: each slot holds a mark that says which token is in it. Dies where real bytes would be lost or
// overwritten: a slot read that nobody wrote, a page read in another expert's layout, a move into slots in use.
// Layer: tests. Thread-compatible.
#ifndef RATION_TESTS_TESTING_FAKE_KV_STORE_H_
#define RATION_TESTS_TESTING_FAKE_KV_STORE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/kv_cache/kv_store.h"
#include "kernels/paged_kv_view.h"

namespace ration::testing {

class FakeKvStore final : public KvStore {
 public:
  FakeKvStore(const kernels::KvLayout& layout, int64_t num_pages) : layout_(layout), pages_(num_pages) {}

  void Write(const kernels::KvSlot& slot, uint64_t mark);
  uint64_t Read(const kernels::KvSlot& slot) const;
  int32_t slots_per_page(int expert) const { return layout_.slots_per_page[expert]; }

  void Regroup(const RegroupMoves& moves) override;
  void CopyPages(absl::Span<const PageMove> copies) override;
  absl::Status Resize(int64_t num_pages) override;
  // Makes the next Resize to more pages fail.
  void RefuseNextGrowth() { refuse_growth_ = true; }

  int64_t num_pages() const { return static_cast<int64_t>(pages_.size()); }
  int64_t tokens_regrouped() const { return tokens_regrouped_; }

 private:
  struct Page {
    int32_t expert = -1;          // in whose layout it was written last
    std::vector<uint64_t> marks;  // [slots_per_page(expert)]; 0: never written
  };
  const kernels::KvLayout layout_;
  std::vector<Page> pages_;
  bool refuse_growth_ = false;
  int64_t tokens_regrouped_ = 0;
};

}  // namespace ration::testing

#endif  // RATION_TESTS_TESTING_FAKE_KV_STORE_H_
