// Chooses which cached tokens of a sequence move to a cheaper expert, and does it: whole pages, from the most expensive expert that
// holds more than its share, the least important pages first (lowest mean S_1), evenly in all layers, never past the target ratio.
// Whose tokens move first is the caller's choice. See docs/budget_control.md.
// Layer: engine/budget. Thread-compatible: used only by the engine thread, between steps.
#ifndef RATION_ENGINE_BUDGET_REGROUPER_H_
#define RATION_ENGINE_BUDGET_REGROUPER_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/kv_cache/kv_store.h"
#include "engine/router/expert_spec.h"

namespace ration {

class Regrouper {
 public:
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

  // Both must outlive the regrouper. `store` may be nullptr: books without bytes.
  Regrouper(KvCacheManager* cache, KvStore* store);

  // Moves pages of `sequence` towards `target` until `pages` are free that were not (a few more may be: layers share the work evenly),
  // or until no page can move without taking an expert prefix below its share. One pass over the layers: what a later one lacks, an
  // earlier one gives when called again. Returns the pages freed. The bytes follow with Flush, which must come before anything else is
  // appended or freed, and before the next call for the same sequence.
  int64_t Regroup(SequenceKv& sequence, const Ratio& target, int64_t pages);
  // Lets the store do what was decided.
  void Flush();

 private:
  int64_t RegroupLayer(SequenceKv& sequence, int64_t layer, const Ratio& target, int64_t pages);

  KvCacheManager* const cache_;
  KvStore* const store_;
  RegroupMoves moves_;
  std::vector<float> importance_, ranked_;  // of one table's pages; kept for their capacity
};

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_REGROUPER_H_
