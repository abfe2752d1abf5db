// Attacks the guarantee: while requests of every length, priority and floor come, are cancelled, time out and pause, the budget is cut and
// raised, ratio, policy, ladder and tenants are changed, and the router wants the largest expert for every token. After every step:
//   used <= budget; nobody was preempted and nobody failed for memory; every token is in its slot once in every layer (its mark, through
//   regrouping and page moves); reservations within the budget; what a request generates is what it generates alone, for tokens do not
//   depend on routes in the fake model. At the end nothing is held.
#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "tests/engine/engine_harness.h"
#include "tests/testing/fake_kv_store.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::FakeKvStore;
using testing::FakeModel;
using testing::HarnessOptions;
using testing::RecordingSink;

constexpr int kStepsPerCase = 6000;

struct Case {
  FakeModel::Scores scores;
  DecodeRule rule;
  std::string ratio;  // empty: automatic
  double overcommit;  // above 1: preemption may happen, and nothing else that must not
  int64_t window = 0;  // of every other layer
  bool tenants = false;  // set, changed and taken away again, with quotas of every kind
};

class BudgetProperty : public ::testing::TestWithParam<Case> {};

struct LiveRequest {
  std::string id;
  std::vector<int32_t> expected;
  double floor = 0;
  std::unique_ptr<RecordingSink> sink;
};

TEST_P(BudgetProperty, NothingBreaksTheGuarantee) {
  const Case& param = GetParam();
  std::mt19937 random(static_cast<uint32_t>(param.scores) * 31 + static_cast<uint32_t>(param.rule) * 7 +
                      static_cast<uint32_t>(param.ratio.size()));
  HarnessOptions options;
  options.ratio = param.ratio;
  options.rule = param.rule;
  options.page_bytes = 1024;  // 4, 8 and 16 slots a page
  if (param.window > 0) options.windows = {param.window, 0};
  options.model.scores = param.scores;
  options.model.max_positions = 512;
  options.engine.budget_policy = BudgetPolicy::kGovernor;
  options.engine.policy.admission_overcommit = param.overcommit;
  options.engine.policy.max_queued_requests = 20;
  options.engine.num_pages = 260;
  options.engine.max_batched_tokens = 60;
  options.engine.max_running_requests = 24;
  options.engine.max_overtakes = 6;
  options.engine.slow_reader_timeout = absl::Seconds(5);
  KvCacheSpec::Options layout;
  layout.num_layers = options.model.num_layers;
  layout.num_kv_heads = 4;
  layout.head_dim = 8;
  layout.experts = testing::ThreeExperts();
  layout.page_bytes = options.page_bytes;
  const auto shape = KvCacheSpec::Create(layout);
  ASSERT_TRUE(shape.ok());
  FakeKvStore store(shape->layout(), options.engine.num_pages);
  options.store = &store;
  options.model.store = &store;
  EngineHarness harness(std::move(options));
  Engine& engine = harness.engine();
  const int64_t page_bytes = harness.spec().page_bytes();
  std::vector<LiveRequest> live;
  int64_t next = 0, complete = 0, budget_changes = 0, refused_budgets = 0, shed = 0;
  int pending = 0;
  int64_t left_the_window = 0;
  bool at_limit = false;

  const auto submit = [&] {
    const int64_t prompt = random() % 8 == 0 ? 1 + random() % 400 : 1 + random() % 60;
    GenerationRequest request =
        harness.Request(absl::StrCat("r", next++), prompt, 1 + random() % (random() % 4 == 0 ? 110 : 40));
    request.priority = static_cast<int32_t>(random() % 3) - 1;
    constexpr double kFloors[] = {0.25, 0.3, 0.5, 0.75, 1.0};
    if (random() % 3 == 0) request.kv_floor = kFloors[random() % 5];
    if (random() % 6 == 0) request.deadline = harness.clock().Now() + absl::Milliseconds(random() % 3000);
    if (random() % 6 == 0) request.queue_deadline = harness.clock().Now() + absl::Milliseconds(random() % 500);
    if (param.tenants) request.tenant = absl::StrCat("t", random() % 4);
    LiveRequest entry;
    entry.id = request.request_id;
    entry.floor = request.kv_floor.value_or(engine.policy().floor);
    entry.expected = harness.ExpectedGreedy(request);
    entry.sink = std::make_unique<RecordingSink>(random() % 6 == 0 ? 1 + random() % 5 : 1 << 20);
    const absl::Status status = engine.Submit(request, entry.sink.get());
    if (!status.ok()) {
      ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      return;
    }
    live.push_back(std::move(entry));
  };
  const auto change_budget = [&] {
    BudgetChange change;
    change.budget_bytes = (20 + static_cast<int64_t>(random() % 280)) * page_bytes;
    change.shed = random() % 8 == 0;
    ++pending;
    engine.SetBudget(change, std::nullopt, [&, change](absl::StatusOr<BudgetResult> result) {
      --pending;
      if (result.ok()) {
        ++budget_changes;
        shed += result->requests_shed;
        EXPECT_EQ(result->budget_bytes, change.budget_bytes);
        EXPECT_LE(engine.stats().kv_used_bytes, change.budget_bytes);
        EXPECT_EQ(engine.stats().kv_budget_bytes, change.budget_bytes);
        EXPECT_EQ(store.num_pages() * page_bytes, change.budget_bytes);
      } else if (result.status().code() == absl::StatusCode::kFailedPrecondition) {
        ++refused_budgets;
        ASSERT_TRUE(SmallestBudgetOf(result.status()).has_value());
        EXPECT_GT(*SmallestBudgetOf(result.status()), change.budget_bytes);
      } else {
        EXPECT_EQ(result.status().code(), absl::StatusCode::kAborted) << result.status();
      }
    });
  };
  const auto change_policy = [&] {
    PolicyChange change;
    switch (random() % 5) {
      case 0:
        change.mode = ControlMode::kAuto;
        break;
      case 1:
        change.floor = 0.25 + 0.25 * static_cast<double>(random() % 3);
        change.ceiling = 1.0;
        break;
      case 2:
        change.floor = 0.25;
        change.ceiling = 0.5 + 0.25 * static_cast<double>(random() % 3);
        break;
      case 3:
        change.ladder = *RatioLadder::Create(
            testing::ThreeExperts(), {*Ratio::Parse("1:0:0", 3), *Ratio::Parse(random() % 2 ? "3:1:6" : "0:1:0", 3),
                                      *Ratio::Parse("0:0:1", 3)});
        break;
      default:
        change.headroom = 0.01 * static_cast<double>(random() % 10);
        break;
    }
    ASSERT_TRUE(engine.SetPolicy(change, std::nullopt).ok());
  };
  const auto change_tenants = [&] {
    std::vector<TenantQuota> quotas;
    for (int i = 0; i < 3; ++i) {
      if (random() % 4 == 0) continue;
      TenantQuota& quota = quotas.emplace_back();
      quota.tenant = absl::StrCat("t", i);
      quota.weight = 0.5 * static_cast<double>(1 + random() % 8);
      if (random() % 2 == 0) quota.max_kv_bytes = (20 + static_cast<int64_t>(random() % 100)) * page_bytes;
      if (random() % 4 == 0) quota.max_queued_requests = 1 + random() % 8;
      if (random() % 3 == 0) quota.max_tokens_per_second = 200.0 + static_cast<double>(random() % 2000);
    }
    ASSERT_TRUE(engine.SetTenants(std::move(quotas)).ok());
  };
  const auto collect = [&] {
    for (size_t i = 0; i < live.size();) {
      if (!live[i].sink->finished()) {
        ++i;
        continue;
      }
      const std::vector<int32_t> tokens = live[i].sink->token_ids();
      ASSERT_LE(tokens.size(), live[i].expected.size());
      ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), live[i].expected.begin())) << live[i].id;
      const FinishInfo finish = *live[i].sink->finish();
      ASSERT_NE(finish.reason, FinishReason::kError) << finish.status;
      if (finish.reason == FinishReason::kLength) {
        ASSERT_EQ(tokens.size(), live[i].expected.size());
        ++complete;
        // Never below its floor, but for what routing may be off by at one time.
        const double slack = 2.0 * 24 * static_cast<double>(harness.spec().bytes_per_token(0));
        ASSERT_GE(static_cast<double>(finish.kv.stored_kv_bytes) + slack,
                  live[i].floor * static_cast<double>(finish.kv.full_kv_bytes));
        if (param.window > 0 && finish.prompt_tokens > 2 * param.window) ++left_the_window;
      }
      live.erase(live.begin() + i);
    }
  };
  const auto check = [&] {
    engine.CheckInvariants();
    const EngineStats& stats = engine.stats();
    ASSERT_LE(stats.kv_used_bytes, stats.kv_budget_bytes);
    at_limit = at_limit || stats.kv_used_bytes + 4 * page_bytes > stats.kv_budget_bytes;
    if (param.overcommit == 1) {
      ASSERT_EQ(stats.preemptions, 0);
    }
    collect();
  };

  for (int step = 0; step < kStepsPerCase; ++step) {
    switch (random() % 16) {
      case 0:
      case 1:
      case 2:
      case 3:
        submit();
        break;
      case 4:
        if (!live.empty() && random() % 3 == 0) engine.Abort(live[random() % live.size()].id);
        break;
      case 5:
      case 6:
        for (const LiveRequest& entry : live) {
          entry.sink->Drain();
          engine.Resume(entry.id);
        }
        break;
      case 7:
        harness.clock().Advance(absl::Milliseconds(random() % 300));
        break;
      case 8:
        if (random() % 2 == 0) change_budget();
        break;
      case 9:
        if (random() % 4 == 0) change_policy();
        break;
      case 10:
        if (random() % 12 == 0) {
          constexpr const char* kRatios[] = {"1:0:0", "3:1:6", "0:0:1", "0:1:0", "5:3:2"};
          ASSERT_TRUE(engine.SetRatio(*Ratio::Parse(kRatios[random() % 5], 3), std::nullopt).ok());
        }
        break;
      case 11:
        if (param.tenants && random() % 8 == 0) change_tenants();
        break;
      default:
        break;
    }
    ASSERT_FALSE(HasFatalFailure());
    engine.Step();
    check();
    ASSERT_FALSE(HasFailure());
  }
  for (int round = 0; engine.HasRequests() || pending > 0; ++round) {
    ASSERT_LT(round, 100000) << "requests are stuck";
    if (param.tenants) harness.clock().Advance(absl::Milliseconds(10));  // what waits for a bucket
    for (const LiveRequest& entry : live) {
      entry.sink->Drain();
      engine.Resume(entry.id);
    }
    engine.Step();
    check();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_TRUE(live.empty());
  EXPECT_EQ(engine.stats().kv_used_bytes, 0);
  EXPECT_EQ(engine.stats().kv_reserved_bytes, 0);
  EXPECT_EQ(engine.NextWakeup(), absl::InfiniteFuture());
  // The test must have attacked something.
  EXPECT_GT(complete, kStepsPerCase / 50);
  EXPECT_GT(budget_changes, kStepsPerCase / 100);
  EXPECT_TRUE(at_limit);
  if (param.window > 0) {
    EXPECT_GT(left_the_window, 0);
  }
  EXPECT_GT(store.tokens_regrouped(), 0);
  EXPECT_EQ(store.tokens_regrouped(), engine.stats().regrouped_total());
  if (param.overcommit > 1) {
    EXPECT_GT(engine.stats().preemptions, 0);
  } else {
    EXPECT_GT(refused_budgets, 0);
    EXPECT_GT(shed, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Adversaries, BudgetProperty,
                         ::testing::Values(Case{FakeModel::Scores::kRandom, DecodeRule::kThreshold, "", 1},
                                           Case{FakeModel::Scores::kFirst, DecodeRule::kThreshold, "", 1},
                                           Case{FakeModel::Scores::kLast, DecodeRule::kThreshold, "", 1},
                                           Case{FakeModel::Scores::kBursts, DecodeRule::kThreshold, "", 1},
                                           Case{FakeModel::Scores::kFirst, DecodeRule::kArgmax, "", 1},
                                           Case{FakeModel::Scores::kLast, DecodeRule::kArgmax, "", 1},
                                           Case{FakeModel::Scores::kFirst, DecodeRule::kThreshold, "1:0:0", 1},
                                           Case{FakeModel::Scores::kFirst, DecodeRule::kArgmax, "3:1:6", 1},
                                           Case{FakeModel::Scores::kRandom, DecodeRule::kThreshold, "1:0:1", 1},
                                           Case{FakeModel::Scores::kRandom, DecodeRule::kThreshold, "", 1.8},
                                           Case{FakeModel::Scores::kRandom, DecodeRule::kThreshold, "", 1, 60},
                                           Case{FakeModel::Scores::kFirst, DecodeRule::kArgmax, "", 1, 60},
                                           Case{FakeModel::Scores::kBursts, DecodeRule::kThreshold, "", 1.8, 60},
                                           Case{FakeModel::Scores::kFirst, DecodeRule::kThreshold, "", 1, 0, true},
                                           Case{FakeModel::Scores::kRandom, DecodeRule::kThreshold, "", 1.8, 0, true}),
                         [](const auto& info) { return absl::StrCat("Case", info.index); });

}  // namespace
}  // namespace ration
