// What an operator changes while requests run: ratio, policy, epochs, priorities, floors. Budgets are in
// engine_budget_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/retry_hint.h"
#include "engine/engine.h"
#include "tests/engine/governed_engine.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::GovernedEngine;
using testing::HarnessOptions;
using testing::RecordingSink;

double Fraction(const FinishInfo& finish) {
  return static_cast<double>(finish.kv.stored_kv_bytes) / static_cast<double>(finish.kv.full_kv_bytes);
}

TEST(SetRatio, GoesManualAndRoutesTheTokensToCome) {
  GovernedEngine governed(1000);
  ASSERT_EQ(governed.engine().policy().mode, ControlMode::kAuto);
  const GenerationRequest request = governed->Request("a", 100, 60);
  RecordingSink& sink = governed->Submit(request);
  governed.Step();  // the whole prompt, at full KV
  const int64_t before = governed.stats().policy_epoch;
  const auto epoch = governed.engine().SetRatio(*Ratio::Parse("0:0:1", 3), std::nullopt);
  ASSERT_TRUE(epoch.ok()) << epoch.status();
  EXPECT_EQ(*epoch, before + 1);
  EXPECT_EQ(governed.stats().policy_epoch, *epoch);
  EXPECT_EQ(governed.engine().policy().mode, ControlMode::kManual);
  EXPECT_EQ(governed.stats().policy.mode, ControlMode::kManual);
  EXPECT_DOUBLE_EQ(governed.stats().requested_kv_fraction, 0.25);
  EXPECT_DOUBLE_EQ(governed.stats().ratio[2], 1);
  governed.RunUntilIdle();
  EXPECT_EQ(sink.token_ids(), governed->ExpectedGreedy(request));
  FinishInfo finish = *sink.finish();
  EXPECT_EQ(finish.kv.prompt_tokens_per_expert, (std::vector<double>{100, 0, 0}));
  EXPECT_EQ(finish.kv.generated_tokens_per_expert,
            (std::vector<double>{0, 0, 59}));  // the last is not put through the model
  EXPECT_EQ(finish.kv.ratio_epochs, (std::vector<int64_t>{before, *epoch}));
  EXPECT_EQ(finish.kv.tokens_regrouped, 0);  // the past is left alone while there is room
  EXPECT_EQ(sink.prompt()->ratio_epoch, before);

  RecordingSink& later = governed->Submit(governed->Request("b", 50, 1));
  governed.RunUntilIdle();
  EXPECT_EQ(later.finish()->kv.prompt_tokens_per_expert, (std::vector<double>{0, 0, 50}));
  EXPECT_EQ(later.prompt()->ratio_epoch, *epoch);
}

TEST(SetRatio, AMixIsKeptToTheTokenAcrossChanges) {
  GovernedEngine governed(2000, "3:1:6");
  RecordingSink& sink = governed->Submit(governed->Request("a", 100, 401));
  governed.Steps(101);
  ASSERT_TRUE(governed.engine().SetRatio(*Ratio::Parse("1:2:1", 3), std::nullopt).ok());
  governed.RunUntilIdle();
  const KvAccounting kv = sink.finish()->kv;
  // 200 tokens at 3:1:6, 300 at 1:2:1; a decode router may be off by its slack.
  const double expected[] = {60 + 75, 20 + 150, 120 + 75};
  for (int e = 0; e < 3; ++e) {
    EXPECT_NEAR(kv.prompt_tokens_per_expert[e] + kv.generated_tokens_per_expert[e], expected[e], 18) << e;
  }
  EXPECT_EQ(kv.ratio_epochs.size(), 2u);
}

TEST(SetRatio, RefusesARatioOfOtherExperts) {
  GovernedEngine governed(100);
  const auto refused = governed.engine().SetRatio(*Ratio::Parse("1:1", 2), std::nullopt);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.status().message(), "ratio: 0.5:0.5 has 2 weights, the model has 3 experts");
  EXPECT_EQ(governed.engine().policy().mode, ControlMode::kAuto);
}

TEST(SetRatio, IsNoKnobOfTheOtherPolicies) {
  for (const BudgetPolicy policy : {BudgetPolicy::kStatic, BudgetPolicy::kPreempt}) {
    HarnessOptions options;
    options.engine.budget_policy = policy;
    EngineHarness harness(std::move(options));
    EXPECT_EQ(harness.engine().SetRatio(Ratio::AllTo(2, 3), std::nullopt).status().code(),
              absl::StatusCode::kFailedPrecondition);
    PolicyChange change;
    change.floor = 0.5;
    EXPECT_EQ(harness.engine().SetPolicy(change, std::nullopt).status().code(), absl::StatusCode::kFailedPrecondition);
    PolicyChange queue;
    queue.max_queued_requests = 7;
    EXPECT_TRUE(harness.engine().SetPolicy(queue, std::nullopt).ok());
    EXPECT_EQ(harness.engine().policy().max_queued_requests, 7);
  }
}

TEST(Epochs, EveryChangeCountsAndAStaleOneIsAborted) {
  GovernedEngine governed(100);
  Engine& engine = governed.engine();
  const int64_t epoch = governed.stats().policy_epoch;
  PolicyChange change;
  change.headroom = 0.05;
  for (const int64_t stale : {epoch - 1, epoch + 1}) {
    const absl::Status aborted = engine.SetRatio(Ratio::AllTo(2, 3), stale).status();
    EXPECT_EQ(aborted.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(aborted.message(), absl::StrCat("expected_epoch: ", stale, " is not the epoch in force, ", epoch));
    EXPECT_EQ(engine.SetPolicy(change, stale).status().code(), absl::StatusCode::kAborted);
    const auto budget = governed.SetBudget(50, false, stale);
    ASSERT_TRUE(budget->has_value());
    EXPECT_EQ((*budget)->status().code(), absl::StatusCode::kAborted);
  }
  EXPECT_EQ(engine.policy().mode, ControlMode::kAuto);
  EXPECT_EQ(engine.policy().gains.headroom, GovernorGains().headroom);
  EXPECT_EQ(governed.budget_pages(), 100);
  EXPECT_EQ(governed.stats().policy_epoch, epoch);

  EXPECT_EQ(*engine.SetPolicy(change, epoch), epoch + 1);
  EXPECT_EQ(*engine.SetRatio(Ratio::AllTo(1, 3), epoch + 1), epoch + 2);
  const auto budget = governed.SetBudget(50, false, epoch + 2);
  ASSERT_TRUE(budget->has_value() && (*budget)->ok());
  EXPECT_EQ((**budget)->epoch, epoch + 3);
  EXPECT_EQ(governed.stats().policy_epoch, epoch + 3);
}

TEST(SetPolicy, ChangesAllOrNothingAndNamesTheField) {
  GovernedEngine governed(100);
  const int64_t epoch = governed.stats().policy_epoch;
  const auto expect_refused = [&](const PolicyChange& with, const std::string& message) {
    PolicyChange change = with;
    if (!change.rise_per_second) change.rise_per_second = 0.5;  // good, and not taken over either
    const auto refused = governed.engine().SetPolicy(change, std::nullopt);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(refused.status().message(), message);
    EXPECT_EQ(governed.engine().policy().gains.rise_per_second, GovernorGains().rise_per_second);
    EXPECT_EQ(governed.stats().policy_epoch, epoch);
  };
  PolicyChange change;
  change.headroom = 0.75;
  expect_refused(change, "headroom: must be in [0, 0.5], not 0.75");
  change = {};
  change.floor = 0.125;
  expect_refused(change, "floor: must be in [0.25, 1], the ladder's lowest fraction to full KV, not 0.125");
  change = {};
  change.floor = 0.75;
  change.ceiling = 0.5;
  expect_refused(change, "ceiling: must be in [0.75, 1], the floor to full KV, not 0.5");
  change = {};
  change.max_queued_tokens = 0;
  expect_refused(change, "max_queued_tokens: must be at least 1, not 0");
  change = {};
  change.admission_overcommit = 0.5;
  expect_refused(change, "admission_overcommit: must be in [1, 1000], not 0.5");
  change = {};
  change.ladder = RatioLadder();
  expect_refused(change, "ladder: its ratios have 1 weights, the model has 3 experts");

  change = {};
  change.floor = 0.5;
  change.ceiling = 0.75;
  change.dead_band = 0.125;
  ASSERT_TRUE(governed.engine().SetPolicy(change, std::nullopt).ok());
  EXPECT_EQ(governed.stats().policy.floor, 0.5);
  EXPECT_NEAR(governed.stats().requested_kv_fraction, 0.75, 1e-5);  // at once
}

TEST(Governor, RoutesCheaperAsMemoryGetsShortAndRecovers) {
  GovernedEngine governed(200);
  std::vector<GenerationRequest> requests;
  std::vector<RecordingSink*> sinks;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(governed->Request(absl::StrCat("r", i), 40, 80));
    sinks.push_back(&governed->Submit(requests.back()));
  }
  double least = 1;
  while (governed.Step()) least = std::min(least, governed.stats().requested_kv_fraction);
  EXPECT_LT(least, 0.5);
  EXPECT_GE(least, 0.25 - 1e-9);
  for (size_t i = 0; i < sinks.size(); ++i) {
    EXPECT_EQ(sinks[i]->token_ids(), governed->ExpectedGreedy(requests[i]));
    EXPECT_EQ(sinks[i]->finish()->reason, FinishReason::kLength);
  }
  EXPECT_EQ(governed.stats().preemptions, 0);
  EXPECT_GT(governed.stats().regrouped_total(), 0);

  // Alone, tokens become dear again as time goes by.
  RecordingSink& alone = governed->Submit(governed->Request("alone", 16, 30));
  while (governed.Step()) governed->clock().Advance(absl::Milliseconds(500));
  EXPECT_GT(governed.stats().requested_kv_fraction, 0.98);
  EXPECT_GT(alone.finish()->kv.ratio_epochs.size(), 1u);
}

TEST(Governor, AnIdleEngineCountsItsWayBackUpAndThenRests) {
  GovernedEngine governed(200);
  for (int i = 0; i < 12; ++i) governed->Submit(governed->Request(absl::StrCat("r", i), 40, 80));
  while (governed.Step()) {
  }
  ASSERT_LT(governed.stats().requested_kv_fraction, 0.75);
  // What is in force changes with every move of the fraction, so the epoch does too, but with nothing else.
  int64_t moves = 0;
  for (int i = 0; i < 100; ++i) {
    const double fraction = governed.stats().requested_kv_fraction;
    const int64_t epoch = governed.stats().policy_epoch;
    governed->clock().Advance(absl::Milliseconds(100));
    EXPECT_FALSE(governed.Step());
    EXPECT_GE(governed.stats().requested_kv_fraction, fraction);
    const int64_t moved = governed.stats().requested_kv_fraction != fraction ? 1 : 0;
    EXPECT_EQ(governed.stats().policy_epoch, epoch + moved) << i;
    moves += moved;
  }
  EXPECT_GT(moves, 0);
  EXPECT_LE(moves, 48);  // quanta between the floor and the ceiling
  EXPECT_DOUBLE_EQ(governed.stats().requested_kv_fraction, 1);
  // At the ceiling nothing changes any more, and no step is asked for.
  const int64_t epoch = governed.stats().policy_epoch;
  for (int i = 0; i < 100; ++i) {
    governed->clock().Advance(absl::Seconds(100));
    EXPECT_FALSE(governed.Step());
  }
  EXPECT_EQ(governed.stats().policy_epoch, epoch);
  EXPECT_EQ(governed.engine().NextWakeup(), absl::InfiniteFuture());
}

TEST(KvFloor, IsKeptWhenMemoryIsShort) {
  GovernedEngine governed(330);
  GenerationRequest dear = governed->Request("dear", 300, 60);
  dear.kv_floor = 0.5;
  RecordingSink& kept = governed->Submit(dear);
  std::vector<RecordingSink*> others;
  for (int i = 0; i < 6; ++i) others.push_back(&governed->Submit(governed->Request(absl::StrCat("r", i), 150, 120)));
  governed.RunUntilIdle();
  EXPECT_GE(Fraction(*kept.finish()), 0.5 - 0.02);
  EXPECT_LT(Fraction(*kept.finish()), 0.8);  // it was pressed
  double cheapest = 1;
  for (RecordingSink* sink : others) cheapest = std::min(cheapest, Fraction(*sink->finish()));
  EXPECT_LT(cheapest, 0.45);  // the others gave more
}

TEST(KvFloor, OfEverythingKeepsEverything) {
  GovernedEngine governed(1500);
  GenerationRequest dear = governed->Request("dear", 100, 60);
  dear.kv_floor = 1.0;
  RecordingSink& kept = governed->Submit(dear);
  for (int i = 0; i < 8; ++i) governed->Submit(governed->Request(absl::StrCat("r", i), 150, 120));
  governed.Steps(20);
  const auto outcome = governed.SetBudget(400);
  ASSERT_TRUE(outcome->has_value() && (*outcome)->ok());
  EXPECT_EQ(governed.stats().requests_running, 9);
  governed.RunUntilIdle();
  EXPECT_EQ(kept.finish()->kv.stored_kv_bytes, kept.finish()->kv.full_kv_bytes);
  EXPECT_EQ(kept.finish()->kv.tokens_regrouped, 0);
  EXPECT_GT(governed.stats().regrouped_total(), 0);
}

TEST(Priority, ThePremiumRequestIsMadeCheaperLast) {
  for (const bool premium_first : {true, false}) {
    GovernedEngine governed(600);
    for (const bool premium : {premium_first, !premium_first}) {
      GenerationRequest request = governed->Request(premium ? "premium" : "plain", 200, 100);
      request.priority = premium ? 5 : 0;
      governed->Submit(request);
    }
    governed.Steps(40);
    ASSERT_EQ(governed.stats().requests_running, 2);
    ASSERT_EQ(governed.stats().regrouped_total(), 0);
    // Less than what one of them can give.
    const auto outcome = governed.SetBudget(governed.used_pages() - 60);
    ASSERT_TRUE(outcome->has_value() && (*outcome)->ok());
    ASSERT_GT((**outcome)->regrouped_token_layers, 0);
    const std::array<int64_t, kMaxExperts> cached = governed.stats().kv_token_layers;
    governed.engine().Abort("plain");
    // What is left is the premium request's, untouched.
    EXPECT_EQ(governed.stats().kv_token_layers[1], 0);
    EXPECT_EQ(governed.stats().kv_token_layers[2], 0);
    EXPECT_GT(governed.stats().kv_token_layers[0], 0);
    EXPECT_GT(cached[1] + cached[2], 0);
  }
}

TEST(Priority, HigherGoesFirstAndWaitingIsWorthAsMuch) {
  GovernedEngine governed(1000, "", [](HarnessOptions& options) {
    options.engine.max_running_requests = 1;
    options.engine.priority_aging = absl::Seconds(10);
  });
  std::vector<std::string> ids;
  std::vector<RecordingSink*> sinks;
  const auto submit = [&](const std::string& id, int32_t priority) {
    GenerationRequest request = governed->Request(id, 10, 3);
    request.priority = priority;
    ids.push_back(id);
    sinks.push_back(&governed->Submit(request));
  };
  submit("running", 0);
  governed.Step();
  submit("low", -1);
  submit("plain", 0);
  governed->clock().Advance(absl::Seconds(5));
  submit("high soon", 1);
  submit("high soon too", 1);
  governed->clock().Advance(absl::Seconds(7));
  submit("high late", 1);  // "plain" waited longer than a level of priority is worth
  std::vector<std::string> order;
  while (governed.Step()) {
    for (size_t i = 0; i < sinks.size(); ++i) {
      if (sinks[i]->finished() && std::find(order.begin(), order.end(), ids[i]) == order.end()) order.push_back(ids[i]);
    }
  }
  EXPECT_EQ(order, (std::vector<std::string>{"running", "high soon", "high soon too", "plain", "high late", "low"}));
}

TEST(QueueDeadline, EndsARequestThatStillWaitsAndNoOther) {
  GovernedEngine governed(1000, "", [](HarnessOptions& options) { options.engine.max_running_requests = 1; });
  GenerationRequest running = governed->Request("running", 10, 20);
  running.queue_deadline = governed->clock().Now() + absl::Seconds(1);
  RecordingSink& runs = governed->Submit(running);
  governed.Step();
  GenerationRequest waiting = governed->Request("waiting", 10, 20);
  waiting.queue_deadline = governed->clock().Now() + absl::Seconds(2);
  RecordingSink& waits = governed->Submit(waiting);
  governed->clock().Advance(absl::Milliseconds(1999));
  governed.Step();
  EXPECT_FALSE(waits.finished());
  EXPECT_FALSE(runs.finished());
  EXPECT_EQ(governed.engine().NextWakeup(), waiting.queue_deadline);
  governed->clock().Advance(absl::Milliseconds(1));
  governed.Step();
  ASSERT_TRUE(waits.finished());
  EXPECT_EQ(waits.finish()->reason, FinishReason::kDeadline);
  EXPECT_EQ(waits.finish()->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(waits.finish()->status.message(), "the deadline passed after 2s in the queue");
  governed.RunUntilIdle();
  EXPECT_EQ(runs.finish()->reason, FinishReason::kLength);
  EXPECT_EQ(runs.token_ids(), governed->ExpectedGreedy(running));
}

// A budget change under way wants steps at once; that is no reason to call anyone's deadline passed.
TEST(Deadlines, AreNotBroughtForwardByABudgetChange) {
  GovernedEngine governed(1000, "", nullptr, /*regroup_time=*/absl::Milliseconds(3));
  std::vector<RecordingSink*> sinks;
  for (int i = 0; i < 8; ++i) {
    GenerationRequest request = governed->Request(absl::StrCat("r", i), 60, 100);
    request.deadline = governed->clock().Now() + absl::Hours(1);
    sinks.push_back(&governed->Submit(request));
  }
  governed.Steps(30);
  const auto outcome = governed.SetBudget(200);
  ASSERT_FALSE(outcome->has_value()) << "the change was to take several steps";
  governed.RunUntilIdle();
  EXPECT_TRUE((*outcome)->ok());
  for (const RecordingSink* sink : sinks) {
    EXPECT_EQ(sink->finish()->reason, FinishReason::kLength) << sink->finish()->status;
  }
}

TEST(QueueTokens, BoundWhatWaits) {
  GovernedEngine governed(1000, "", [](HarnessOptions& options) {
    options.engine.max_running_requests = 1;
    options.engine.policy.max_queued_tokens = 100;
  });
  governed->Submit(governed->Request("running", 150, 5));  // alone in the queue any size is taken
  governed.Step();
  governed->Submit(governed->Request("waiting", 60, 5));
  EXPECT_EQ(governed.stats().waiting_tokens, 60);
  const absl::Status full = governed->SubmitStatus(governed->Request("too much", 41, 5));
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(full.message(), "the queue is full: 60 prompt tokens are waiting, this request has 41, the limit is 100");
  EXPECT_TRUE(RetryHint(full).has_value());
  EXPECT_EQ(governed.stats().rejections[static_cast<size_t>(RejectReason::kQueueTokens)], 1);
  governed->Submit(governed->Request("just", 40, 5));
  PolicyChange change;
  change.max_queued_tokens = 141;
  ASSERT_TRUE(governed.engine().SetPolicy(change, std::nullopt).ok());
  governed->Submit(governed->Request("more", 41, 5));
  EXPECT_EQ(governed.stats().waiting_tokens, 141);
  governed.RunUntilIdle();
  EXPECT_EQ(governed.stats().waiting_tokens, 0);
}

// A ratio that the ladder does not have may save where the floor keeps and keep where it saves.
TEST(KvFloor, IsKeptUnderARatioOffTheLadder) {
  GovernedEngine governed(1000, "0:1:0");
  std::vector<RecordingSink*> sinks;
  for (int i = 0; i < 4; ++i) {
    GenerationRequest request = governed->Request(absl::StrCat("r", i), 500, 100);
    request.kv_floor = 0.375;
    sinks.push_back(&governed->Submit(request));
  }
  governed.Steps(90);
  const auto outcome = governed.SetBudget(governed.stats().kv_reserved_bytes / GovernedEngine::kPageBytes);
  ASSERT_TRUE(outcome->has_value() && (*outcome)->ok());
  governed.RunUntilIdle();
  for (RecordingSink* sink : sinks) EXPECT_GE(Fraction(*sink->finish()), 0.375 - 0.02);
  EXPECT_GT(governed.stats().regrouped_total(), 0);
}

// Reservations are made for the ratio that a request with a floor is routed at, also where nothing is ever regrouped.
TEST(KvFloor, IsReservedForUnderAFixedRatio) {
  testing::HarnessOptions options;  // static
  options.ratio = "0:0:1";
  options.engine.num_pages = 200;
  testing::EngineHarness harness(std::move(options));
  std::vector<RecordingSink*> sinks;
  for (int i = 0; i < 20; ++i) {
    GenerationRequest request = harness.Request(absl::StrCat("r", i), 100, 60);
    if (i % 2 == 0) request.kv_floor = 1.0;
    sinks.push_back(&harness.Submit(request));
  }
  harness.RunUntilIdle();
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(sinks[i]->finish()->reason, FinishReason::kLength);
    EXPECT_NEAR(Fraction(*sinks[i]->finish()), i % 2 == 0 ? 1.0 : 0.25, 1e-9);
  }
}

}  // namespace
}  // namespace ration
