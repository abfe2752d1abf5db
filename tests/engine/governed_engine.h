// An EngineHarness under BudgetPolicy::kGovernor with marked bytes: pages of 1 KiB (4, 8 and 16 slots), two layers. The
// fake model dies if a token's mark is not where its page table says, so every test here also checks the bytes. Layer:
// tests. Thread-compatible.
#ifndef RATION_TESTS_ENGINE_GOVERNED_ENGINE_H_
#define RATION_TESTS_ENGINE_GOVERNED_ENGINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/base/check.h"
#include "tests/engine/engine_harness.h"
#include "tests/testing/fake_kv_store.h"

namespace ration::testing {

// A store whose regrouping takes time.
class SlowStore final : public KvStore {
 public:
  SlowStore(FakeKvStore* store, absl::Duration time) : store_(store), time_(time) {}
  void set_clock(FakeClock* clock) { clock_ = clock; }

  void Regroup(const RegroupMoves& moves) override {
    if (clock_ != nullptr) clock_->Advance(time_);
    store_->Regroup(moves);
  }
  void CopyPages(absl::Span<const PageMove> copies) override { store_->CopyPages(copies); }
  absl::Status Resize(int64_t num_pages) override { return store_->Resize(num_pages); }

 private:
  FakeKvStore* const store_;
  const absl::Duration time_;
  FakeClock* clock_ = nullptr;
};

// What became of a SetBudget, once it is known.
using BudgetOutcome = std::shared_ptr<std::optional<absl::StatusOr<BudgetResult>>>;

class GovernedEngine {
 public:
  static constexpr int64_t kPageBytes = 1024;

  // ratio: empty for automatic mode. regroup_time: what each flush of regrouping takes.
  explicit GovernedEngine(int64_t num_pages, const std::string& ratio = "",
                          const std::function<void(HarnessOptions&)>& adapt = nullptr,
                          absl::Duration regroup_time = absl::ZeroDuration()) {
    HarnessOptions options;
    options.ratio = ratio;
    options.page_bytes = kPageBytes;
    options.engine.budget_policy = BudgetPolicy::kGovernor;
    options.engine.num_pages = num_pages;
    KvCacheSpec::Options layout;
    layout.num_layers = options.model.num_layers;
    layout.num_kv_heads = 4;
    layout.head_dim = 8;
    layout.experts = ThreeExperts();
    layout.page_bytes = kPageBytes;
    const auto spec = KvCacheSpec::Create(layout);
    RATION_CHECK(spec.ok());
    store_ = std::make_unique<FakeKvStore>(spec->layout(), num_pages);
    slow_store_ = std::make_unique<SlowStore>(store_.get(), regroup_time);
    options.store = slow_store_.get();
    options.model.store = store_.get();
    if (adapt) adapt(options);
    harness_ = std::make_unique<EngineHarness>(std::move(options));
    if (regroup_time > absl::ZeroDuration()) slow_store_->set_clock(&harness_->clock());
  }

  EngineHarness* operator->() { return harness_.get(); }
  Engine& engine() { return harness_->engine(); }
  const EngineStats& stats() { return harness_->engine().stats(); }
  FakeKvStore& store() { return *store_; }
  int64_t used_pages() { return stats().kv_used_bytes / kPageBytes; }
  int64_t budget_pages() { return stats().kv_budget_bytes / kPageBytes; }

  // One step, after which the books must be right and the budget kept.
  bool Step() {
    const bool ran = engine().Step();
    engine().CheckInvariants();
    RATION_CHECK(stats().kv_used_bytes <= stats().kv_budget_bytes);
    RATION_CHECK(stats().kv_budget_bytes == store_->num_pages() * kPageBytes);
    return ran;
  }
  void Steps(int64_t count) {
    for (int64_t i = 0; i < count; ++i) Step();
  }
  void RunUntilIdle() {
    for (int64_t step = 0; Step(); ++step) RATION_CHECK(step < 100000);
  }
  BudgetOutcome SetBudget(int64_t pages, bool shed = false, std::optional<int64_t> expected_epoch = std::nullopt) {
    BudgetChange change;
    change.budget_bytes = pages * kPageBytes;
    change.shed = shed;
    auto outcome = std::make_shared<std::optional<absl::StatusOr<BudgetResult>>>();
    engine().SetBudget(change, expected_epoch, [outcome](absl::StatusOr<BudgetResult> result) {
      RATION_CHECK(!outcome->has_value());
      *outcome = std::move(result);
    });
    engine().CheckInvariants();
    return outcome;
  }

 private:
  std::unique_ptr<FakeKvStore> store_;
  std::unique_ptr<SlowStore> slow_store_;
  std::unique_ptr<EngineHarness> harness_;  // last: uses the others
};

}  // namespace ration::testing

#endif  // RATION_TESTS_ENGINE_GOVERNED_ENGINE_H_
