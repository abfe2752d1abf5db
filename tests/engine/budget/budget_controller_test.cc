// Tests engine/budget/budget_controller.cc: modes, epochs, validation, and the governor's decisions taking force.
#include "engine/budget/budget_controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace ration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ExpertSpec Spec() { return *ExpertSpec::Create({1, 2, 4}, 4); }
Ratio R(const char* text) { return *Ratio::Parse(text, 3); }

std::unique_ptr<BudgetController> Make(BudgetController::Options options = {}) {
  options.experts = Spec();
  auto controller = BudgetController::Create(options);
  EXPECT_TRUE(controller.ok()) << controller.status();
  return *std::move(controller);
}

// need(f) = bytes_full * f against 980 of 1000.
GovernorDecision UpdateWith(BudgetController& controller, int64_t full_bytes, double elapsed = 0.03) {
  DemandClass demand;
  demand.floor = 0.25;
  demand.demand_full_bytes = full_bytes;
  GovernorInput input;
  input.budget_bytes = 1000;
  input.classes = {&demand, 1};
  input.elapsed_seconds = elapsed;
  return controller.Update(input);
}

TEST(BudgetController, StartsAutomaticAtTheCeilingOrManualAtTheRatioGiven) {
  EXPECT_EQ(Make()->ratio(), R("1:0:0"));
  EXPECT_EQ(Make()->policy().mode, ControlMode::kAuto);
  EXPECT_EQ(Make()->policy().floor, 0.25);
  BudgetController::Options options;
  options.policy.ceiling = 0.5;
  EXPECT_EQ(Make(options)->ratio(), R("3:1:6"));
  options.ratio = R("0:1:0");
  EXPECT_EQ(Make(options)->policy().mode, ControlMode::kManual);
  EXPECT_EQ(Make(options)->ratio(), R("0:1:0"));
  EXPECT_EQ(Make(options)->fraction(), 0.5);
  options.ratio.reset();
  options.fixed = true;
  EXPECT_EQ(Make(options)->ratio(), R("1:0:0"));
}

TEST(BudgetController, TheGovernorsRatioIsANewEpochAndOnlyANewRatioIs) {
  auto controller = Make();
  UpdateWith(*controller, 100);
  EXPECT_EQ(controller->epoch(), 1);
  UpdateWith(*controller, 1960);
  EXPECT_EQ(controller->ratio(), R("3:1:6"));
  EXPECT_EQ(controller->fraction(), 0.5);
  EXPECT_EQ(controller->wanted_fraction(), 0.5);
  EXPECT_EQ(controller->epoch(), 2);
  UpdateWith(*controller, 1960);
  EXPECT_EQ(controller->epoch(), 2);
}

TEST(BudgetController, RisesAtTheRateThroughStepsThatEarnLessThanAQuantum) {
  auto controller = Make();
  UpdateWith(*controller, 3920);
  EXPECT_EQ(controller->fraction(), 0.25);
  for (int i = 0; i < 1000; ++i) UpdateWith(*controller, 0, 0.001);
  EXPECT_NEAR(controller->fraction(), 0.5, 1.0 / 64 + 1e-6);
  for (int i = 0; i < 2001; ++i) UpdateWith(*controller, 0, 0.001);
  EXPECT_EQ(controller->fraction(), 1);
  EXPECT_EQ(controller->epoch(), 2 + 48);
}

TEST(BudgetController, WhatTheGovernorDoesIsNoConflictForAnOperator) {
  auto controller = Make();
  EXPECT_EQ(*controller->SetRatio(R("0:1:0"), 1), 2);
  PolicyChange automatic;
  automatic.mode = ControlMode::kAuto;
  EXPECT_EQ(*controller->SetPolicy(automatic, 2), 3);
  UpdateWith(*controller, 3920);
  ASSERT_EQ(controller->epoch(), 4);  // the governor's
  EXPECT_TRUE(controller->CheckEpoch(3).ok());
  EXPECT_TRUE(controller->CheckEpoch(4).ok());
  EXPECT_EQ(controller->CheckEpoch(2).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(controller->CheckEpoch(5).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(*controller->SetRatio(R("0:1:0"), 3), 5);
  EXPECT_EQ(controller->CheckEpoch(4).code(), absl::StatusCode::kAborted);
}

TEST(BudgetController, ManualKeepsTheRatioAndHoldsTheQueueAtIt) {
  auto controller = Make();
  EXPECT_EQ(*controller->SetRatio(R("0:1:0"), 1), 2);
  EXPECT_EQ(controller->policy().mode, ControlMode::kManual);
  GovernorDecision decision = UpdateWith(*controller, 1960);
  EXPECT_TRUE(decision.admit);
  EXPECT_EQ(decision.regroup_to_bytes, 980);
  decision = UpdateWith(*controller, 1964);
  EXPECT_FALSE(decision.admit);
  EXPECT_EQ(decision.fraction, 0.5);
  EXPECT_EQ(controller->ratio(), R("0:1:0"));
  EXPECT_EQ(controller->epoch(), 2);
}

TEST(BudgetController, BackInAutomaticItGoesOnFromTheOperatorsFraction) {
  auto controller = Make();
  ASSERT_TRUE(controller->SetRatio(R("0:1:0"), {}).ok());
  PolicyChange change;
  change.mode = ControlMode::kAuto;
  EXPECT_EQ(*controller->SetPolicy(change, 2), 3);
  EXPECT_EQ(controller->ratio(), R("3:1:6"));
  UpdateWith(*controller, 0, 1);
  EXPECT_NEAR(controller->fraction(), 0.75, 1e-5);
}

TEST(BudgetController, AStaleEpochAbortsNamingBoth) {
  auto controller = Make();
  controller->BumpEpoch();
  const absl::Status status = controller->SetRatio(R("0:1:0"), 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("1"), HasSubstr("2")));
  EXPECT_EQ(controller->SetPolicy({}, 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(controller->ratio(), R("1:0:0"));
  EXPECT_TRUE(controller->CheckEpoch(2).ok());
  EXPECT_TRUE(controller->CheckEpoch({}).ok());
}

TEST(BudgetController, BoundsTakeForceAtOnce) {
  auto controller = Make();
  PolicyChange change;
  change.ceiling = 0.5;
  ASSERT_TRUE(controller->SetPolicy(change, {}).ok());
  EXPECT_EQ(controller->ratio(), R("3:1:6"));
  change.floor = change.ceiling = 0.75;
  ASSERT_TRUE(controller->SetPolicy(change, {}).ok());
  EXPECT_EQ(controller->ratio(), R("0.65:0.05:0.3"));
}

TEST(BudgetController, ANewLadderTakesForceAndTheDefaultFloorFollowsIt) {
  auto controller = Make();
  PolicyChange change;
  change.ladder = *RatioLadder::Create(Spec(), {R("1:0:0"), R("0:1:0")});
  ASSERT_TRUE(controller->SetPolicy(change, {}).ok());
  EXPECT_EQ(controller->policy().floor, 0.5);
  UpdateWith(*controller, 1000000);
  EXPECT_EQ(controller->ratio(), R("0:1:0"));
  change.ladder = RatioLadder::Default(Spec());
  ASSERT_TRUE(controller->SetPolicy(change, {}).ok());
  EXPECT_EQ(controller->policy().floor, 0.25);
}

TEST(BudgetController, EveryFieldIsValidatedAndARefusalChangesNothing) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  struct Bad {
    const char* field;
    std::vector<double> values;
    void (*set)(PolicyChange&, double);
  };
  const std::vector<Bad> all = {
      {"floor", {0, 0.2, 1.1, -1, nan, infinity}, [](PolicyChange& c, double v) { c.floor = v; }},
      {"ceiling", {0, 0.2, 1.1, -1, nan, infinity}, [](PolicyChange& c, double v) { c.ceiling = v; }},
      {"rise_per_second", {0, -1, nan, infinity}, [](PolicyChange& c, double v) { c.rise_per_second = v; }},
      {"dead_band", {-0.1, 1.5, nan, infinity}, [](PolicyChange& c, double v) { c.dead_band = v; }},
      {"headroom", {-0.1, 0.51, nan, infinity}, [](PolicyChange& c, double v) { c.headroom = v; }},
      {"max_queued_requests", {0, -1}, [](PolicyChange& c, double v) { c.max_queued_requests = static_cast<int64_t>(v); }},
      {"max_queued_tokens", {0, -1}, [](PolicyChange& c, double v) { c.max_queued_tokens = static_cast<int64_t>(v); }},
      {"admission_overcommit", {0, 0.99, nan, infinity}, [](PolicyChange& c, double v) { c.admission_overcommit = v; }}};
  auto controller = Make();
  for (const Bad& bad : all) {
    for (double value : bad.values) {
      PolicyChange change;
      change.mode = ControlMode::kManual;
      bad.set(change, value);
      const absl::Status status = controller->SetPolicy(change, {}).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.field << " " << value;
      EXPECT_THAT(std::string(status.message()), HasSubstr(bad.field));
      if (std::isfinite(value)) {
        EXPECT_THAT(std::string(status.message()), HasSubstr("not " + ::testing::PrintToString(value)));
      }
    }
  }
  EXPECT_EQ(controller->policy().mode, ControlMode::kAuto);
  EXPECT_EQ(controller->epoch(), 1);
}

TEST(BudgetController, RatiosAndLaddersOfAnotherModelAreRefused) {
  auto controller = Make();
  EXPECT_THAT(std::string(controller->SetRatio(*Ratio::Parse("1:1", 2), {}).status().message()),
              AllOf(HasSubstr("2 weights"), HasSubstr("3 experts")));
  PolicyChange change;
  change.ladder = RatioLadder::Default(*ExpertSpec::Create({1, 2}, 4));
  EXPECT_EQ(controller->SetPolicy(change, {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(controller->epoch(), 1);
}

}  // namespace
}  // namespace ration
