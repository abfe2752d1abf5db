// SetBudget while requests run: up at once, down by regrouping until it fits, refusals that change nothing, shedding.
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "tests/engine/governed_engine.h"

namespace ration {
namespace {

using testing::BudgetOutcome;
using testing::GovernedEngine;
using testing::HarnessOptions;
using testing::RecordingSink;

constexpr int64_t kPage = GovernedEngine::kPageBytes;

// Requests, and what they must generate whatever happens to the budget.
struct Load {
  Load(GovernedEngine* governed, int count, int64_t prompt, int64_t new_tokens, const std::string& prefix = "r") {
    for (int i = 0; i < count; ++i) {
      requests.push_back((*governed)->Request(absl::StrCat(prefix, i), prompt, new_tokens));
      sinks.push_back(&(*governed)->Submit(requests.back()));
    }
  }
  void ExpectComplete(GovernedEngine* governed) const {
    for (size_t i = 0; i < sinks.size(); ++i) {
      ASSERT_TRUE(sinks[i]->finished()) << i;
      EXPECT_EQ(sinks[i]->finish()->reason, FinishReason::kLength) << sinks[i]->finish()->status;
      EXPECT_EQ(sinks[i]->token_ids(), (*governed)->ExpectedGreedy(requests[i])) << i;
    }
    EXPECT_EQ(governed->stats().preemptions, 0);
    EXPECT_EQ(governed->stats().kv_used_bytes, 0);
    EXPECT_EQ(governed->stats().kv_reserved_bytes, 0);
  }
  std::vector<GenerationRequest> requests;
  std::vector<RecordingSink*> sinks;
};

bool Ok(const BudgetOutcome& outcome) { return outcome->has_value() && (*outcome)->ok(); }

TEST(SetBudget, UpIsAtOnceAndAdmitsWhatWaited) {
  GovernedEngine governed(20);
  const Load load(&governed, 2, 60, 60);  // 16 pages each at the floor
  governed.Steps(3);
  ASSERT_EQ(governed.stats().requests_running, 1);
  const int64_t used = governed.used_pages();
  const auto outcome = governed.SetBudget(400);
  ASSERT_TRUE(Ok(outcome));
  EXPECT_EQ((**outcome)->budget_bytes, 400 * kPage);
  EXPECT_EQ((**outcome)->reclaimed_bytes, 0);
  EXPECT_EQ((**outcome)->regrouped_token_layers, 0);
  EXPECT_EQ((**outcome)->requests_shed, 0);
  EXPECT_EQ(governed.budget_pages(), 400);
  EXPECT_EQ(governed.used_pages(), used);
  EXPECT_EQ(governed.store().num_pages(), 400);
  EXPECT_FALSE(governed.stats().target_budget_bytes.has_value());
  governed.Step();
  EXPECT_EQ(governed.stats().requests_running, 2);
  governed.RunUntilIdle();
  load.ExpectComplete(&governed);
}

TEST(SetBudget, RoundsDownToWholePagesAndRefusesLessThanOne) {
  GovernedEngine governed(20);
  const auto set = [&](int64_t bytes) {
    BudgetChange change;
    change.budget_bytes = bytes;
    absl::Status status = absl::UnknownError("not called");
    governed.engine().SetBudget(change, std::nullopt,
                                [&](absl::StatusOr<BudgetResult> result) { status = result.status(); });
    return status;
  };
  EXPECT_TRUE(set(7 * kPage + kPage - 1).ok());
  EXPECT_EQ(governed.stats().kv_budget_bytes, 7 * kPage);
  for (const int64_t bytes :
       {kPage - 1, int64_t{0}, -kPage, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    const absl::Status refused = set(bytes);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << bytes;
    EXPECT_TRUE(absl::StartsWith(refused.message(), "budget_bytes: must be in [1024, ")) << refused;
    EXPECT_TRUE(absl::EndsWith(refused.message(), absl::StrCat("not ", bytes))) << refused;
  }
  EXPECT_EQ(governed.stats().kv_budget_bytes, 7 * kPage);
}

TEST(SetBudget, DownUnderLoadFitsAtOnceAndEveryoneFinishes) {
  GovernedEngine governed(1000);
  const Load load(&governed, 8, 60, 60);
  governed.Steps(30);
  const int64_t used = governed.used_pages();
  ASSERT_GT(used, 300);
  ASSERT_EQ(governed.stats().regrouped_total(), 0);
  const auto outcome = governed.SetBudget(150);
  ASSERT_TRUE(Ok(outcome));
  EXPECT_LE(governed.used_pages(), 150);
  EXPECT_EQ(governed.budget_pages(), 150);
  EXPECT_EQ(governed.store().num_pages(), 150);
  EXPECT_EQ((**outcome)->budget_bytes, 150 * kPage);
  EXPECT_EQ((**outcome)->reclaimed_bytes, (used - governed.used_pages()) * kPage);
  EXPECT_EQ((**outcome)->regrouped_token_layers, governed.stats().regrouped_total());
  EXPECT_EQ((**outcome)->regrouped_token_layers, governed.store().tokens_regrouped());
  EXPECT_EQ((**outcome)->epoch, governed.stats().policy_epoch);
  EXPECT_EQ((**outcome)->requests_shed, 0);
  EXPECT_EQ((**outcome)->requests_preempted, 0);
  EXPECT_EQ(governed.stats().requests_running, 8);
  governed.RunUntilIdle();
  load.ExpectComplete(&governed);
}

TEST(SetBudget, DownTakesSeveralStepsWhenRegroupingTakesTime) {
  GovernedEngine governed(1000, "", nullptr, absl::Milliseconds(3));
  const Load load(&governed, 8, 60, 100);
  governed.Steps(30);
  const int64_t used = governed.used_pages();
  const auto outcome = governed.SetBudget(200);
  ASSERT_FALSE(outcome->has_value()) << "one sequence's regrouping takes longer than a step may";
  EXPECT_EQ(governed.stats().target_budget_bytes, 200 * kPage);
  int64_t steps = 0, least = used;
  for (; !outcome->has_value(); ++steps) {
    ASSERT_LT(steps, 100);
    EXPECT_EQ(governed.engine().NextWakeup(), absl::InfinitePast());
    governed.Step();
    if (outcome->has_value()) break;
    EXPECT_EQ(governed.stats().target_budget_bytes, 200 * kPage);
    EXPECT_EQ(governed.budget_pages(), 1000);
    EXPECT_LE(governed.used_pages(), least) << "on the way down nothing grows";
    least = governed.used_pages();
  }
  ASSERT_TRUE(Ok(outcome));
  EXPECT_GE(steps, 1);
  EXPECT_GT((**outcome)->seconds, 0.005);
  EXPECT_EQ(governed.budget_pages(), 200);
  EXPECT_FALSE(governed.stats().target_budget_bytes.has_value());
  governed.RunUntilIdle();
  load.ExpectComplete(&governed);
}

TEST(SetBudget, ALaterOneAbortsTheEarlier) {
  GovernedEngine governed(1000, "", nullptr, absl::Milliseconds(3));
  const Load load(&governed, 8, 60, 100);
  governed.Steps(30);
  const auto first = governed.SetBudget(200);
  ASSERT_FALSE(first->has_value());
  // One that is refused aborts nothing.
  const auto refused = governed.SetBudget(3);
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(first->has_value());
  const auto up = governed.SetBudget(1200);
  ASSERT_TRUE(first->has_value());
  EXPECT_EQ((*first)->status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(Ok(up));
  EXPECT_EQ(governed.budget_pages(), 1200);
  const auto down = governed.SetBudget(250);
  EXPECT_FALSE(down->has_value());
  const auto further = governed.SetBudget(200);
  ASSERT_TRUE(down->has_value());
  EXPECT_EQ((*down)->status().code(), absl::StatusCode::kAborted);
  governed.RunUntilIdle();
  EXPECT_TRUE(Ok(further));
  EXPECT_EQ(governed.budget_pages(), 200);
  load.ExpectComplete(&governed);
}

TEST(SetBudget, TheEndOfTheEngineAbortsOneUnderWay) {
  BudgetOutcome outcome;
  {
    GovernedEngine governed(1000, "", nullptr, absl::Milliseconds(3));
    const Load load(&governed, 8, 60, 100);
    governed.Steps(30);
    outcome = governed.SetBudget(200);
    ASSERT_FALSE(outcome->has_value());
  }
  ASSERT_TRUE(outcome->has_value());
  EXPECT_EQ((*outcome)->status().code(), absl::StatusCode::kAborted);
}

TEST(SetBudget, BelowTheFloorsNamesTheSmallestThatDoesAndChangesNothing) {
  GovernedEngine governed(1000);
  const Load load(&governed, 8, 60, 60);
  governed.Steps(30);
  const int64_t reserved = governed.stats().kv_reserved_bytes / kPage;
  ASSERT_EQ(reserved, 8 * 16);
  const int64_t used = governed.used_pages(), epoch = governed.stats().policy_epoch;
  const auto refused = governed.SetBudget(reserved - 1);
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains((*refused)->status().message(), absl::StrCat("need ", reserved * kPage, " bytes")))
      << (*refused)->status();
  const std::optional<int64_t> smallest = SmallestBudgetOf((*refused)->status());
  ASSERT_TRUE(smallest.has_value());
  EXPECT_EQ(*smallest, reserved * kPage);
  EXPECT_EQ(governed.budget_pages(), 1000);
  EXPECT_EQ(governed.store().num_pages(), 1000);
  EXPECT_EQ(governed.used_pages(), used);
  EXPECT_EQ(governed.stats().policy_epoch, epoch);
  EXPECT_EQ(governed.stats().regrouped_total(), 0);

  ASSERT_TRUE(Ok(governed.SetBudget(*smallest / kPage)));
  EXPECT_LE(governed.used_pages(), reserved);
  governed.RunUntilIdle();
  load.ExpectComplete(&governed);
}

TEST(SetBudget, ShedEndsTheLowestPriorityYoungestFirst) {
  GovernedEngine governed(1000);
  const auto submit = [&](const std::string& id, int32_t priority) -> RecordingSink& {
    GenerationRequest request = governed->Request(id, 60, 60);
    request.priority = priority;
    return governed->Submit(request);
  };
  RecordingSink& old_plain = submit("old plain", 0);
  governed.Step();
  RecordingSink& premium = submit("premium", 1);
  governed.Step();
  RecordingSink& low = submit("low", -1);
  governed.Step();
  RecordingSink& young_plain = submit("young plain", 0);
  governed.Steps(10);
  ASSERT_EQ(governed.stats().requests_running, 4);
  const auto outcome = governed.SetBudget(2 * 16, /*shed=*/true);
  ASSERT_TRUE(Ok(outcome));
  EXPECT_EQ((**outcome)->requests_shed, 2);
  for (RecordingSink* shed : {&low, &young_plain}) {
    ASSERT_TRUE(shed->finished());
    EXPECT_EQ(shed->finish()->reason, FinishReason::kShed);
    EXPECT_EQ(shed->finish()->status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_GE(shed->finish()->generated_tokens, 10);  // what was generated was delivered
  }
  EXPECT_EQ(governed.stats().requests_finished[static_cast<size_t>(FinishReason::kShed)], 2);
  EXPECT_FALSE(old_plain.finished());
  EXPECT_FALSE(premium.finished());
  governed.RunUntilIdle();
  EXPECT_EQ(old_plain.finish()->reason, FinishReason::kLength);
  EXPECT_EQ(premium.finish()->reason, FinishReason::kLength);
}

TEST(SetBudget, ShedEndsNobodyWhenTheFloorsFit) {
  GovernedEngine governed(1000);
  const Load load(&governed, 4, 60, 60);
  governed.Steps(30);
  const auto outcome = governed.SetBudget(4 * 16, /*shed=*/true);
  ASSERT_TRUE(Ok(outcome));
  EXPECT_EQ((**outcome)->requests_shed, 0);
  governed.RunUntilIdle();
  load.ExpectComplete(&governed);
}

TEST(SetBudget, RefusedGrowthLeavesEverythingAsItWas) {
  GovernedEngine governed(1000, "", nullptr, absl::Milliseconds(3));
  const Load load(&governed, 8, 60, 100);
  governed.Steps(30);
  const auto down = governed.SetBudget(200);
  ASSERT_FALSE(down->has_value());
  const int64_t epoch = governed.stats().policy_epoch;
  governed.store().RefuseNextGrowth();
  const auto refused = governed.SetBudget(2000);
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(governed.stats().policy_epoch, epoch);
  EXPECT_EQ(governed.budget_pages(), 1000);
  EXPECT_FALSE(down->has_value()) << "what is under way goes on";
  governed.RunUntilIdle();
  EXPECT_TRUE(Ok(down));
  EXPECT_EQ(governed.budget_pages(), 200);
  load.ExpectComplete(&governed);
}

TEST(SetBudget, EndsWaitingRequestsThatNoLongerFit) {
  GovernedEngine governed(200, "", [](HarnessOptions& options) { options.engine.max_running_requests = 1; });
  const Load running(&governed, 1, 60, 60);
  governed.Step();
  RecordingSink& large = governed->Submit(governed->Request("large", 700, 68));  // 96 pages at its floor
  const Load small(&governed, 1, 60, 60, "small");
  const auto stays = governed.SetBudget(96);
  ASSERT_TRUE(Ok(stays));
  EXPECT_FALSE(large.finished());
  ASSERT_TRUE(Ok(governed.SetBudget(95)));
  ASSERT_TRUE(large.finished());
  EXPECT_EQ(large.finish()->reason, FinishReason::kShed);
  EXPECT_EQ(large.finish()->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(large.finish()->status.message(),
            "needs 96.0 KiB of KV cache at its floor; the budget was lowered to 95.0 KiB while it waited");
  // And comes none of its size any more.
  EXPECT_EQ(governed->SubmitStatus(governed->Request("again", 700, 68)).code(), absl::StatusCode::kResourceExhausted);
  governed.RunUntilIdle();
  running.ExpectComplete(&governed);
  small.ExpectComplete(&governed);
}

TEST(SetBudget, OfAnIdleEngineGivesEverythingBack) {
  GovernedEngine governed(1000);
  const Load load(&governed, 4, 60, 30);
  governed.RunUntilIdle();
  ASSERT_TRUE(Ok(governed.SetBudget(1)));
  EXPECT_EQ(governed.store().num_pages(), 1);
  EXPECT_EQ(governed->SubmitStatus(governed->Request("none fits", 10, 10)).code(),
            absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(Ok(governed.SetBudget(300)));
  const Load again(&governed, 4, 60, 30, "again");
  governed.RunUntilIdle();
  again.ExpectComplete(&governed);
}

// Requests admitted beyond what can be promised stay beyond it when overcommitting ends; that is no reason to end them
// unasked.
TEST(SetBudget, EndsNobodyUnaskedAfterOvercommit) {
  GovernedEngine governed(40, "", [](HarnessOptions& options) {
    options.engine.policy.admission_overcommit = 3;
    options.engine.policy.gains.headroom = 0;
  });
  const Load load(&governed, 6, 60, 60);
  governed.Steps(3);
  ASSERT_GT(governed.stats().kv_reserved_bytes, 60 * kPage);
  PolicyChange change;
  change.admission_overcommit = 1;
  ASSERT_TRUE(governed.engine().SetPolicy(change, std::nullopt).ok());
  std::optional<absl::StatusOr<BudgetResult>> outcome;
  BudgetChange budget;
  budget.budget_bytes = 60 * kPage;
  governed.engine().SetBudget(budget, std::nullopt,
                              [&](absl::StatusOr<BudgetResult> result) { outcome = std::move(result); });
  ASSERT_TRUE(outcome.has_value() && outcome->ok());
  EXPECT_EQ((*outcome)->requests_shed, 0);
  while (governed.engine().Step()) EXPECT_LE(governed.stats().kv_used_bytes, 60 * kPage);
  for (size_t i = 0; i < load.sinks.size(); ++i) {
    EXPECT_EQ(load.sinks[i]->finish()->reason, FinishReason::kLength) << load.sinks[i]->finish()->status;
    EXPECT_EQ(load.sinks[i]->token_ids(), governed->ExpectedGreedy(load.requests[i])) << i;
  }
}

}  // namespace
}  // namespace ration
