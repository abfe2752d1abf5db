#include "engine/budget/regrouper.h"

#include <algorithm>
#include <array>

#include "engine/base/check.h"

namespace ration {

Regrouper::Regrouper(KvCacheManager* cache, KvStore* store) : cache_(cache), store_(store) {}

int64_t Regrouper::Regroup(SequenceKv& sequence, const Ratio& target, int64_t pages) {
  const int64_t num_layers = cache_->spec().num_layers();
  int64_t freed = 0;
  for (int64_t layer = 0; layer < num_layers && freed < pages; ++layer) {
    const int64_t layers_left = num_layers - layer;
    freed += RegroupLayer(sequence, layer, target,
                          pages == kAll ? kAll : (pages - freed + layers_left - 1) / layers_left);
    moves_.CloseChain();
  }
  return freed;
}

int64_t Regrouper::RegroupLayer(SequenceKv& sequence, int64_t layer, const Ratio& target, int64_t pages) {
  const KvCacheSpec& spec = cache_->spec();
  const int num_experts = spec.num_experts();
  // How many tokens experts 0..e hold beyond their share of the layer's; changes with every move.
  std::array<int64_t, kMaxExperts> excess{};
  int64_t total = 0, prefix_ppm = 0;
  for (int e = 0; e < num_experts; ++e) total += sequence.num_tokens(layer, e);
  for (int64_t e = 0, held = 0; e < num_experts; ++e) {
    held += sequence.num_tokens(layer, static_cast<int>(e));
    prefix_ppm += target.ppm(static_cast<int>(e));
    const __int128 share = static_cast<__int128>(prefix_ppm) * total;
    excess[e] = held - static_cast<int64_t>((share + Ratio::kOne - 1) / Ratio::kOne);
  }

  int64_t freed = 0;
  for (int from = 0; from + 1 < num_experts; ++from) {
    while (freed < pages) {
      const int64_t held = sequence.num_pages(layer, from), slots = spec.slots_per_page(from);
      if (held == 0) break;
      const int64_t in_last = sequence.num_tokens(layer, from) - (held - 1) * slots;
      // Whole pages if their tokens are in excess; else the tail page, if its fewer ones are.
      const int64_t unit = excess[from] >= slots ? slots : in_last;
      if (excess[from] < unit) break;
      int to = from + 1;
      while (to + 1 < num_experts && excess[to] >= unit) ++to;
      int64_t count = held;
      for (int e = from; e < to; ++e) count = std::min(count, excess[e] / unit);
      if (pages != kAll) {
        // A page moved leaves behind slots(from) / slots(to) of one.
        const int64_t gain = spec.slots_per_page(to) - slots;
        if (gain > 0) count = std::min(count, ((pages - freed) * spec.slots_per_page(to) + gain - 1) / gain);
      }
      count = std::max<int64_t>(count, 1);

      int64_t moved = 0;
      if (unit < slots) {
        freed += cache_->RegroupPage(sequence, layer, from, held - 1, to, moves_.moves);
        moved = in_last;
      } else {
        importance_.resize(held);
        for (int64_t i = 0; i < held; ++i) importance_[i] = sequence.MeanImportance(layer, from, i);
        ranked_ = importance_;
        std::nth_element(ranked_.begin(), ranked_.begin() + (count - 1), ranked_.end());
        const float threshold = ranked_[count - 1];
        // From the end, because a page taken out is replaced by a later one, which was looked at already.
        for (int64_t i = held - 1; i >= 0 && count > 0; --i) {
          if (importance_[i] > threshold) continue;
          const int64_t tokens = i == held - 1 ? in_last : slots;
          freed += cache_->RegroupPage(sequence, layer, from, i, to, moves_.moves);
          moved += tokens;
          --count;
        }
      }
      for (int e = from; e < to; ++e) excess[e] -= moved;
    }
  }
  return freed;
}

void Regrouper::Flush() {
  if (moves_.empty()) return;
  if (store_ != nullptr) store_->Regroup(moves_);
  moves_.Clear();
}

}  // namespace ration
