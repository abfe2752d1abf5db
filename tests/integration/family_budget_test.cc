// The guarantee on the real models: for every family with routers, requests come and go at random while the budget is cut and raised.
// After every step the pages in use are within the budget and the books hold; nobody is preempted, nobody fails, everybody finishes; at
// the end nothing is held. (tests/engine/budget_property_test attacks harder, on a model without maths.)
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/engine_factory.h"
#include "tests/testing/family_checkpoint.h"
#include "tests/testing/recording_sink.h"

namespace ration {
namespace {

using testing::RecordingSink;

#ifdef RATION_SANITIZER
constexpr int kSteps = 200;
#else
constexpr int kSteps = 1200;
#endif

class FamilyBudgetTest : public ::testing::TestWithParam<TestFamily> {};

TEST_P(FamilyBudgetTest, UsedNeverExceedsTheBudgetAndEverybodyFinishes) {
  FamilyCheckpointOptions files_options;
  files_options.routed = true;
  const FamilyCheckpoint files(GetParam(), files_options);
  EngineFactoryOptions options;
  options.directory = files.directory();
  options.kv_budget_bytes = 600 << 10;
  options.engine.max_batched_tokens = 96;
  options.engine.max_running_requests = 24;
  auto loaded = LoadEngine(options, Clock::Real());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  Engine& engine = *loaded->engine;
  std::mt19937 random(7);
  std::vector<std::unique_ptr<RecordingSink>> sinks;
  int64_t budgets_set = 0, refused = 0;
  const auto check = [&] {
    engine.CheckInvariants();
    ASSERT_LE(engine.stats().kv_used_bytes, engine.stats().kv_budget_bytes);
    ASSERT_EQ(engine.stats().preemptions, 0);
  };
  for (int step = 0; step < kSteps; ++step) {
    if (random() % 3 == 0) {
      GenerationRequest request;
      request.request_id = absl::StrCat("r", step);
      for (int64_t i = 1 + random() % (random() % 4 == 0 ? 150 : 30); i > 0; --i) {
        request.prompt_tokens.push_back(static_cast<int32_t>(random() % 384));
      }
      request.stopping.max_new_tokens = 1 + random() % 60;
      request.stopping.ignore_eos = true;
      request.sampling.temperature = 0;
      if (random() % 4 == 0) request.kv_floor = 0.5;
      request.priority = static_cast<int32_t>(random() % 3);
      auto sink = std::make_unique<RecordingSink>();
      const absl::Status status = engine.Submit(std::move(request), sink.get());
      if (status.ok()) {
        sinks.push_back(std::move(sink));
      } else {
        ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      }
    }
    if (random() % 40 == 0) {
      BudgetChange change;
      change.budget_bytes = (150 + static_cast<int64_t>(random() % 600)) << 10;
      engine.SetBudget(change, std::nullopt, [&](absl::StatusOr<BudgetResult> result) { ++(result.ok() ? budgets_set : refused); });
    }
    engine.Step();
    check();
    ASSERT_FALSE(HasFailure());
  }
  while (engine.HasRequests()) {
    engine.Step();
    check();
    ASSERT_FALSE(HasFailure());
  }
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->finished());
    EXPECT_EQ(sink->finish()->reason, FinishReason::kLength) << sink->finish()->status;
  }
  EXPECT_EQ(engine.stats().kv_used_bytes, 0);
  EXPECT_EQ(engine.stats().kv_reserved_bytes, 0);
  // The test must have attacked something.
  EXPECT_GT(sinks.size(), static_cast<size_t>(kSteps) / 20);
  EXPECT_GT(budgets_set, 0);
  EXPECT_GT(engine.stats().regrouped_total(), 0);
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyBudgetTest, ::testing::ValuesIn(AllTestFamilies()),
                         [](const auto& info) { return Name(info.param); });

}  // namespace
}  // namespace ration
