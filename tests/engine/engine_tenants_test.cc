// Tenants: who is served when several want to be, what quotas refuse and hold back, and that changing tenants loses nobody.
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/base/retry_hint.h"
#include "engine/budget/kv_budget.h"
#include "engine/engine.h"
#include "tests/engine/engine_harness.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::HarnessOptions;
using testing::RecordingSink;

TenantQuota Quota(const std::string& name, double weight = 1) {
  TenantQuota quota;
  quota.tenant = name;
  quota.weight = weight;
  return quota;
}

HarnessOptions Places(int64_t max_running_requests) {
  HarnessOptions options;
  options.engine.max_running_requests = max_running_requests;
  return options;
}

class Tenants {
 public:
  explicit Tenants(HarnessOptions options) : harness_(std::move(options)) {}

  EngineHarness* operator->() { return &harness_; }
  Engine& engine() { return harness_.engine(); }
  void Set(std::vector<TenantQuota> quotas) { ASSERT_TRUE(engine().SetTenants(std::move(quotas)).ok()); }
  GenerationRequest Request(const std::string& tenant, int64_t prompt, int64_t new_tokens) {
    GenerationRequest request = harness_.Request(absl::StrCat(tenant, next_++), prompt, new_tokens);
    request.tenant = tenant;
    return request;
  }
  RecordingSink& Submit(const std::string& tenant, int64_t prompt = 10, int64_t new_tokens = 10, int32_t priority = 0) {
    GenerationRequest request = Request(tenant, prompt, new_tokens);
    request.priority = priority;
    return harness_.Submit(std::move(request));
  }
  bool Step() {
    const bool ran = engine().Step();
    engine().CheckInvariants();
    return ran;
  }
  TenantStats Stats(const std::string& tenant) {
    for (const TenantStats& stats : engine().stats().tenants) {
      if (stats.tenant == tenant) return stats;
    }
    ADD_FAILURE() << "no tenant " << tenant;
    return TenantStats();
  }
  int64_t Tokens(const std::string& tenant) { return Stats(tenant).prompt_tokens + 2 * Stats(tenant).generated_tokens; }
  int64_t Reserved(int64_t prompt, int64_t new_tokens) {
    return harness_.spec().WorstCasePages(harness_.router(), prompt, new_tokens) * harness_.spec().page_bytes();
  }
  // The same under BudgetPolicy::kGovernor, at the lowest floor.
  int64_t FloorBytes(int64_t prompt, int64_t new_tokens) {
    return FloorPages(harness_.spec(), Ratio::AllTo(2, 3), prompt + new_tokens) * harness_.spec().page_bytes();
  }

 private:
  EngineHarness harness_;
  int64_t next_ = 0;
};

TEST(FairSharing, SharesConvergeToTheWeightsWhateverAreAskedFor) {
  Tenants tenants(Places(4));
  tenants.Set({Quota("small", 1), Quota("large", 3)});
  // "small" is the greedy one: ten times the requests, and longer ones.
  for (int step = 0; step < 3000; ++step) {
    while (tenants.Stats("small").requests_waiting < 50) tenants.Submit("small", 30, 40);
    while (tenants.Stats("large").requests_waiting < 5) tenants.Submit("large", 10, 10);
    tenants.Step();
  }
  EXPECT_NEAR(static_cast<double>(tenants.Tokens("large")) / static_cast<double>(tenants.Tokens("small")), 3, 0.15);
}

TEST(FairSharing, ThoseNotListedShareOneEntry) {
  Tenants tenants(Places(3));
  tenants.Set({Quota("listed")});
  for (int step = 0; step < 3000; ++step) {
    while (tenants.Stats("listed").requests_waiting < 3) tenants.Submit("listed");
    while (tenants.Stats("other").requests_waiting < 6) {
      tenants.Submit("");
      tenants.Submit("stranger");
    }
    tenants.Step();
  }
  EXPECT_NEAR(static_cast<double>(tenants.Tokens("other")) / static_cast<double>(tenants.Tokens("listed")), 1, 0.05);
}

TEST(FairSharing, ALightTenantPassesABacklogButNotByMoreThanItsShare) {
  Tenants tenants(Places(1));
  tenants.Set({Quota("light"), Quota("greedy")});
  std::vector<RecordingSink*> greedy;
  for (int i = 0; i < 20; ++i) greedy.push_back(&tenants.Submit("greedy"));
  tenants.Step();
  RecordingSink& first = tenants.Submit("light");
  RecordingSink& second = tenants.Submit("light");
  while (!first.finished()) tenants.Step();
  EXPECT_TRUE(greedy[0]->finished());
  EXPECT_FALSE(greedy[1]->finished());
  while (!greedy[1]->finished()) tenants.Step();
  EXPECT_FALSE(second.finished());  // they take turns
  while (!second.finished()) tenants.Step();
  EXPECT_FALSE(greedy[2]->finished());
}

TEST(FairSharing, AnIdleTenantSavesUpNothing) {
  Tenants tenants(Places(1));
  tenants.Set({Quota("busy"), Quota("idle")});
  for (int i = 0; i < 60; ++i) tenants.Submit("busy");
  while (tenants.Stats("busy").requests_waiting > 20) tenants.Step();
  // 40 requests were served meanwhile. Now it comes with many, and gets half, not all.
  for (int i = 0; i < 20; ++i) tenants.Submit("idle");
  const int64_t before = tenants.Tokens("busy");
  while (tenants.Stats("idle").requests_waiting > 10) tenants.Step();
  EXPECT_NEAR(static_cast<double>(tenants.Tokens("busy") - before) / static_cast<double>(tenants.Tokens("idle")), 1, 0.25);
}

TEST(FairSharing, PrioritiesStillGoFirstAndAge) {
  HarnessOptions options = Places(1);
  options.engine.priority_aging = absl::Seconds(10);
  Tenants tenants(std::move(options));
  tenants.Set({Quota("plain"), Quota("urgent")});
  tenants.Submit("urgent", 10, 10, 1);
  tenants.Step();
  RecordingSink& plain = tenants.Submit("plain");
  RecordingSink& urgent = tenants.Submit("urgent", 10, 10, 1);  // it has had more service, but the priority counts first
  while (!urgent.finished()) tenants.Step();
  EXPECT_FALSE(plain.finished());
  EXPECT_EQ(plain.num_deltas(), 0);
  // Urgent work without end holds it up for the ten seconds that a level is worth, not for longer.
  Tenants ages(Places(1));
  ages.Set({Quota("plain"), Quota("urgent")});
  ages.Submit("urgent", 10, 10, 1);
  ages.Step();
  RecordingSink& waits = ages.Submit("plain");
  const absl::Time start = ages->clock().Now();
  while (!waits.finished()) {
    while (ages.Stats("urgent").requests_waiting < 3) ages.Submit("urgent", 10, 10, 1);
    ages->clock().Advance(absl::Milliseconds(100));
    ages.Step();
    ASSERT_LT(ages->clock().Now() - start, absl::Seconds(15));
  }
  EXPECT_GT(ages->clock().Now() - start, absl::Seconds(10));
}

TEST(FairSharing, InAStepTheTenantWithLessServicePrefillsFirst) {
  HarnessOptions options = Places(10);
  options.engine.max_batched_tokens = 32 + 10;
  Tenants tenants(std::move(options));
  tenants.Set({Quota("greedy"), Quota("light")});
  for (int i = 0; i < 5; ++i) tenants.Submit("greedy", 320, 5);
  tenants.Step();
  RecordingSink& light = tenants.Submit("light", 16, 5);
  tenants.Step();
  EXPECT_EQ(light.num_deltas(), 1);  // at once, though 1,500 tokens of prompts came before
}

TEST(FairSharing, ALargeRequestGetsItsTurn) {
  HarnessOptions options = Places(50);
  options.engine.max_overtakes = 4;
  Tenants tenants(std::move(options));
  tenants.Set({Quota("large"), Quota("small")});
  // A budget for three large requests or many small ones.
  BudgetChange change;
  change.budget_bytes = 3 * tenants.Reserved(300, 300);
  tenants.engine().SetBudget(change, std::nullopt, [](absl::StatusOr<BudgetResult> result) { ASSERT_TRUE(result.ok()); });
  int64_t submitted = 0;  // of lengths that never end together
  const auto submit_small = [&] { tenants.Submit("small", 40, 20 + submitted++ * 37 % 80); };
  for (int i = 0; i < 30; ++i) submit_small();
  for (int i = 0; i < 100; ++i) {
    while (tenants.Stats("small").requests_waiting < 10) submit_small();
    tenants.Step();
  }
  RecordingSink& large = tenants.Submit("large", 800, 700);
  int64_t steps = 0;
  while (large.num_deltas() == 0) {
    while (tenants.Stats("small").requests_waiting < 10) submit_small();
    tenants.Step();
    ASSERT_LT(++steps, 300);
  }
}

TEST(TenantQuotas, TheQueueOfATenantIsBoundedAndOthersAreNot) {
  Tenants tenants(Places(1));
  TenantQuota bounded = Quota("bounded"), shut = Quota("shut");
  bounded.max_queued_requests = 2;
  shut.max_queued_requests = 0;
  tenants.Set({bounded, shut});
  tenants.Submit("bounded");
  tenants.Step();
  tenants.Submit("bounded");
  tenants.Submit("bounded");
  const absl::Status status = tenants->SubmitStatus(tenants.Request("bounded", 10, 10));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "tenant quota max_queued_requests: 2 requests of tenant \"bounded\" are waiting, the limit is 2");
  EXPECT_TRUE(RetryHint(status).has_value());
  EXPECT_EQ(tenants->SubmitStatus(tenants.Request("shut", 10, 10)).code(), absl::StatusCode::kResourceExhausted);
  tenants.Submit("stranger");
  const auto reason = static_cast<size_t>(RejectReason::kTenantQueue);
  EXPECT_EQ(tenants.engine().stats().rejections[reason], 2);
  EXPECT_EQ(tenants.Stats("bounded").rejections[reason], 1);
  EXPECT_EQ(tenants.Stats("shut").rejections[reason], 1);
  EXPECT_EQ(tenants.Stats("other").rejections[reason], 0);
  tenants->RunUntilIdle();
}

TEST(TenantQuotas, KvBytesHoldATenantBackAndNobodyElse) {
  HarnessOptions options = Places(50);
  options.engine.max_overtakes = 0;  // nothing may pass anything, and still others are not held up
  Tenants tenants(std::move(options));
  TenantQuota capped = Quota("capped");
  capped.max_kv_bytes = 2 * tenants.Reserved(20, 20) + 1;
  tenants.Set({capped});
  for (int i = 0; i < 5; ++i) tenants.Submit("capped", 20, 20);
  for (int i = 0; i < 5; ++i) tenants.Submit("free", 20, 20);
  tenants.Step();
  EXPECT_EQ(tenants.Stats("capped").requests_running, 2);
  EXPECT_EQ(tenants.Stats("capped").requests_waiting, 3);
  EXPECT_EQ(tenants.Stats("capped").kv_reserved_bytes, *capped.max_kv_bytes - 1);
  EXPECT_EQ(tenants.Stats("other").requests_running, 5);
  tenants->RunUntilIdle();
  EXPECT_EQ(tenants.Stats("capped").generated_tokens, 5 * 20);
}

TEST(TenantQuotas, ALargeRequestWithinItsKvQuotaIsPassedOnlySoOften) {
  HarnessOptions options = Places(50);
  options.engine.max_overtakes = 3;
  Tenants tenants(std::move(options));
  TenantQuota capped = Quota("capped");
  capped.max_kv_bytes = tenants.Reserved(200, 200);
  tenants.Set({capped});
  tenants.Submit("capped", 20, 30);
  tenants.Step();
  RecordingSink& large = tenants.Submit("capped", 200, 200);  // needs all of the quota
  int64_t steps = 0;
  while (large.num_deltas() == 0) {
    while (tenants.Stats("capped").requests_waiting < 4) tenants.Submit("capped", 20, 30);
    tenants.Step();
    ASSERT_LT(++steps, 300);
  }
}

TEST(TenantQuotas, WhatCanNeverFitTheKvQuotaIsRefusedWithBytes) {
  Tenants tenants(Places(5));
  TenantQuota capped = Quota("capped");
  capped.max_kv_bytes = 1024;
  tenants.Set({capped});
  const absl::Status status = tenants->SubmitStatus(tenants.Request("capped", 100, 50));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("of KV cache for 100 prompt and 50 new tokens; tenant \"capped\" may have 1.00 KiB"),
            absl::string_view::npos)
      << status;
  EXPECT_EQ(status.message().substr(0, 33), "tenant quota max_kv_bytes: needs ");
  EXPECT_FALSE(RetryHint(status).has_value());
  EXPECT_EQ(tenants.Stats("capped").rejections[static_cast<size_t>(RejectReason::kTenantKv)], 1);
  tenants.Submit("stranger", 100, 50);
  tenants->RunUntilIdle();
}

TEST(TenantQuotas, TokensASecondDelayAdmissionAndTheEngineWakesForIt) {
  Tenants tenants(Places(5));
  TenantQuota slow = Quota("slow");
  slow.max_tokens_per_second = 100;
  tenants.Set({slow});
  RecordingSink& first = tenants.Submit("slow", 150, 50);
  tenants->RunUntilIdle();
  EXPECT_TRUE(first.finished());  // what runs goes on
  RecordingSink& second = tenants.Submit("slow", 10, 10);
  EXPECT_FALSE(tenants.Step());
  EXPECT_EQ(tenants.engine().NextWakeup(), tenants->clock().Now() + absl::Seconds(1));  // 100 - 150 - 50 tokens
  RecordingSink& other = tenants.Submit("stranger", 10, 10);
  tenants->RunUntilIdle();
  EXPECT_TRUE(other.finished());  // nobody else waits for it
  tenants->clock().Advance(absl::Seconds(1) - absl::Nanoseconds(1));
  EXPECT_FALSE(tenants.Step());
  tenants->clock().Advance(absl::Nanoseconds(1));
  EXPECT_TRUE(tenants.Step());
  tenants->RunUntilIdle();
  EXPECT_TRUE(second.finished());
  EXPECT_EQ(tenants.engine().NextWakeup(), absl::InfiniteFuture());
}

TEST(TenantQuotas, OverTimeTheRateHolds) {
  Tenants tenants(Places(8));
  TenantQuota slow = Quota("slow");
  slow.max_tokens_per_second = 200;
  tenants.Set({slow});
  const absl::Time start = tenants->clock().Now();
  while (tenants->clock().Now() - start < absl::Seconds(30)) {
    while (tenants.Stats("slow").requests_waiting < 3) tenants.Submit("slow", 30, 20);
    tenants->clock().Advance(absl::Milliseconds(10));
    tenants.Step();
  }
  const int64_t tokens = tenants.Stats("slow").prompt_tokens + tenants.Stats("slow").generated_tokens;
  EXPECT_GT(tokens, 30 * 200 - 500);
  EXPECT_LT(tokens, 30 * 200 + 200 + 8 * 50);  // the burst, and what runs
}

TEST(TenantQuotas, WhatAQuotaHoldsBackMakesNobodysTokensCheaper) {
  for (const std::string quota : {"none", "rate", "bytes"}) {
    HarnessOptions options = Places(50);
    options.ratio = "";
    options.engine.budget_policy = BudgetPolicy::kGovernor;
    options.engine.num_pages = 400;
    Tenants tenants(std::move(options));
    TenantQuota greedy = Quota("greedy");
    if (quota == "rate") greedy.max_tokens_per_second = 1;
    if (quota == "bytes") greedy.max_kv_bytes = tenants.FloorBytes(10, 30);
    tenants.Set({greedy, Quota("light")});
    tenants.Submit("greedy", 10, 30);  // empties the bucket, uses up the bytes
    tenants.Submit("light", 50, 50);
    tenants.Step();
    for (int i = 0; i < 100; ++i) tenants.Submit("greedy", 10, 30);
    for (int i = 0; i < 5; ++i) tenants.Step();
    EXPECT_EQ(tenants.engine().stats().requested_kv_fraction < 1, quota == "none")
        << tenants.engine().stats().requested_kv_fraction;
  }
}

TEST(SetTenants, ChangesAtRunTimeLoseNobody) {
  Tenants tenants(Places(6));
  std::vector<RecordingSink*> sinks;
  const std::vector<std::string> names = {"a", "b", "c", "", "stranger"};
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 3; ++i) sinks.push_back(&tenants.Submit(names[(round + i * i) % names.size()], 5 + round % 40, 1 + round % 9));
    if (round % 7 == 0) {
      std::vector<TenantQuota> quotas;
      for (int i = 0; i < 3; ++i) {
        if ((round / 7 + i) % 3 == 0) continue;
        quotas.push_back(Quota(names[i], 1 + i));
        if (round % 2 == 0) quotas.back().max_kv_bytes = tenants.Reserved(60, 60);
        if (round % 3 == 0) quotas.back().max_tokens_per_second = 400;
      }
      tenants.Set(std::move(quotas));
      tenants.engine().CheckInvariants();
    }
    tenants->clock().Advance(absl::Milliseconds(50));
    tenants.Step();
  }
  tenants.Set({});
  EXPECT_TRUE(tenants.engine().stats().tenants.empty());
  tenants->RunUntilIdle();
  for (const RecordingSink* sink : sinks) {
    ASSERT_TRUE(sink->finished());
    EXPECT_EQ(sink->finish()->reason, FinishReason::kLength) << sink->finish()->status;
  }
  EXPECT_EQ(tenants.engine().stats().kv_reserved_bytes, 0);
}

TEST(SetTenants, WhatWaitsAndNoLongerFitsIsToldSo) {
  Tenants tenants(Places(1));
  RecordingSink& runs = tenants.Submit("a", 50, 50);
  tenants.Step();
  RecordingSink& waits = tenants.Submit("a", 50, 50);
  TenantQuota capped = Quota("a");
  capped.max_kv_bytes = 1024;
  tenants.Set({capped});
  ASSERT_TRUE(waits.finished());
  EXPECT_EQ(waits.finish()->reason, FinishReason::kShed);
  EXPECT_EQ(waits.finish()->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(waits.finish()->status.message().find("the quota of tenant \"a\" was lowered to 1.00 KiB while it waited"),
            absl::string_view::npos)
      << waits.finish()->status;
  tenants->RunUntilIdle();
  EXPECT_EQ(runs.finish()->reason, FinishReason::kLength);
}

TEST(SetTenants, CountersGoOnUnderTheSameNameAndErrorsChangeNothing) {
  Tenants tenants(Places(2));
  tenants.Set({Quota("a"), Quota("b")});
  tenants.Submit("a", 10, 5);
  tenants->RunUntilIdle();
  tenants.Set({Quota("b"), Quota("a", 2)});
  EXPECT_EQ(tenants.Stats("a").prompt_tokens, 10);
  EXPECT_EQ(tenants.Stats("a").generated_tokens, 5);
  EXPECT_EQ(tenants.Stats("a").weight, 2);
  EXPECT_EQ(tenants.Stats("b").prompt_tokens, 0);
  const absl::Status status = tenants.engine().SetTenants({Quota("c"), Quota("d", -1)});
  EXPECT_EQ(status.message(), "tenant \"d\": weight: must be in [0.001, 1000], not -1");
  EXPECT_EQ(tenants.engine().stats().tenants.size(), 3u);
}

}  // namespace
}  // namespace ration
