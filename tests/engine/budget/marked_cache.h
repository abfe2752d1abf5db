// A KV cache of three experts (4, 8 and 16 slots a page unless told otherwise) whose tokens leave marks in a
// FakeKvStore, for tests of what moves tokens. Layer: tests. Thread-compatible.
#ifndef RATION_TESTS_ENGINE_BUDGET_MARKED_CACHE_H_
#define RATION_TESTS_ENGINE_BUDGET_MARKED_CACHE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/base/check.h"
#include "engine/budget/regrouper.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "tests/testing/fake_kv_store.h"

namespace ration::testing {

struct MarkedCache {
  static constexpr int64_t kPageBytes = 1024;
  static KvCacheSpec Spec(int64_t num_layers, int64_t page_bytes = kPageBytes) {
    KvCacheSpec::Options options;
    options.num_layers = num_layers;
    options.num_kv_heads = 4;
    options.head_dim = 8;
    options.experts = *ExpertSpec::Create({1, 2, 4}, 4);
    options.page_bytes = page_bytes;
    return *KvCacheSpec::Create(options);
  }
  explicit MarkedCache(int64_t num_layers, int64_t pages = 4000, int64_t page_bytes = kPageBytes)
      : manager(Spec(num_layers, page_bytes), pages),
        store(manager.spec().layout(), pages),
        regrouper(&manager, &store) {}

  // scores: as KvCacheManager::Append. Marks are 1, 2, 3, ...
  void Append(SequenceKv& sequence, int64_t layer, const std::vector<uint8_t>& experts,
              const std::vector<float>& scores = {}) {
    std::vector<kernels::KvSlot> slots(experts.size());
    manager.Append(sequence, layer, 0, experts, scores, absl::MakeSpan(slots));
    for (const kernels::KvSlot& slot : slots) store.Write(slot, next_mark++);
  }
  // Regroups, with bytes.
  int64_t Regroup(SequenceKv& sequence, const Ratio& target, int64_t pages) {
    const int64_t used = manager.used_pages();
    const int64_t freed = regrouper.Regroup(sequence, target, pages);
    regrouper.Flush();
    manager.CheckInvariants();
    RATION_CHECK(used - manager.used_pages() == freed);
    return freed;
  }
  std::vector<uint64_t> Marks(const SequenceKv& sequence, int64_t layer, int expert) const {
    const kernels::PagedKvView view = sequence.View(layer);
    const int32_t slots = store.slots_per_page(expert);
    std::vector<uint64_t> marks;
    for (int32_t s = 0; s < view.experts[expert].num_slots; ++s) {
      marks.push_back(store.Read({view.experts[expert].pages[s / slots], s % slots, expert}));
    }
    std::sort(marks.begin(), marks.end());
    return marks;
  }
  // Every token of a layer, ascending.
  std::vector<uint64_t> AllMarks(const SequenceKv& sequence, int64_t layer) const {
    std::vector<uint64_t> all;
    for (int e = 0; e < 3; ++e) {
      for (uint64_t mark : Marks(sequence, layer, e)) all.push_back(mark);
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  KvCacheManager manager;
  FakeKvStore store;
  Regrouper regrouper;
  uint64_t next_mark = 1;
};

}  // namespace ration::testing

#endif  // RATION_TESTS_ENGINE_BUDGET_MARKED_CACHE_H_
