// The promises made on the KV pool: how many pages each admitted request may come to need at its floor, and whether another promise
// still fits. Knows numbers only; the pages themselves are the KvCacheManager's. The reservation comes first (Text Generation
// Inference's block allocator), the pages when tokens arrive.
// Layer: engine/budget. Thread-compatible: used only by the engine thread.
//
// Invariants: (1) reserved_pages() is the sum over the live reservations. (2) While overcommit is 1 and the budget was not lowered below
// it, reserved_pages() <= num_pages().
#ifndef RATION_ENGINE_BUDGET_KV_BUDGET_H_
#define RATION_ENGINE_BUDGET_KV_BUDGET_H_

#include <cstdint>
#include <memory>

#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/router/expert_spec.h"

namespace ration {

class KvBudget {
 public:
  // Gives its pages back when destroyed; must not outlive the budget.
  class Reservation {
   public:
    ~Reservation() { budget_->reserved_pages_ -= pages_; }
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    int64_t pages() const { return pages_; }

   private:
    friend class KvBudget;
    Reservation(KvBudget* budget, int64_t pages) : budget_(budget), pages_(pages) { budget->reserved_pages_ += pages; }
    KvBudget* const budget_;
    const int64_t pages_;
  };

  // REQUIRES: num_pages >= 1.
  explicit KvBudget(int64_t num_pages) : num_pages_(num_pages) {}

  // Whether reserved + pages + headroom <= num_pages * overcommit. The headroom serves those that run already: it is waived for a
  // request that would be alone.
  bool CanReserve(int64_t pages) const;
  // nullptr if not CanReserve(pages).
  std::unique_ptr<Reservation> TryReserve(int64_t pages);

  void set_num_pages(int64_t num_pages) { num_pages_ = num_pages; }
  void set_headroom_pages(int64_t pages) { headroom_pages_ = pages; }
  void set_overcommit(double overcommit) { overcommit_ = overcommit; }

  int64_t num_pages() const { return num_pages_; }
  int64_t headroom_pages() const { return headroom_pages_; }
  int64_t reserved_pages() const { return reserved_pages_; }
  // Every promise can be kept at once.
  bool covered() const { return reserved_pages_ <= num_pages_; }

 private:
  int64_t num_pages_;
  int64_t headroom_pages_ = 0;
  double overcommit_ = 1;
  int64_t reserved_pages_ = 0;
};

// An upper bound on the pages (over all layers) that a sequence of at most `tokens` tokens holds while it is *at the floor*: regrouped as
// far towards `floor` as whole pages allow (Regrouper), plus one step's tokens routed at `floor`. Monotone in `tokens`. For a floor
// of everything at the cheapest expert it is exact; others count a tail page of every cheaper expert, which may hold tokens from before.
// See docs/budget_control.md for the proof.
int64_t FloorPages(const KvCacheSpec& spec, const Ratio& floor, int64_t tokens);

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_KV_BUDGET_H_
