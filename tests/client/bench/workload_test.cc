#include "client/bench/workload.h"

#include <gtest/gtest.h>

#include <set>

#include "client/bench/prompt_source.h"

namespace ration {
namespace {

TEST(WorkloadTest, LengthRangesAreOneNumberOrTwo) {
  EXPECT_EQ(ParseLengthRange("12")->low, 12);
  EXPECT_EQ(ParseLengthRange("12")->high, 12);
  EXPECT_EQ(ParseLengthRange("3-9")->low, 3);
  EXPECT_EQ(ParseLengthRange("3-9")->high, 9);
  for (const char* bad : {"", "-", "0", "5-", "-5", "9-3", "1-2-3", "x", "1.5", "99999999999999999999"}) {
    EXPECT_FALSE(ParseLengthRange(bad).ok()) << bad;
  }
}

TEST(WorkloadTest, LengthsThatFitStayAsTheyAre) {
  const PlannedRequest request = FitContext({0, 60, 40, false}, 100);
  EXPECT_EQ(request.prompt_tokens, 60);
  EXPECT_EQ(request.output_tokens, 40);
  EXPECT_FALSE(request.clipped);
}

TEST(WorkloadTest, ALongPromptGivesWayToTheOutput) {
  const PlannedRequest request = FitContext({0, 5000, 20, false}, 100);
  EXPECT_EQ(request.prompt_tokens, 80);
  EXPECT_EQ(request.output_tokens, 20);
  EXPECT_TRUE(request.clipped);
}

TEST(WorkloadTest, ALongOutputGetsHalfOfTheContextOrWhatTheShortPromptLeaves) {
  EXPECT_EQ(FitContext({0, 5000, 5000, false}, 100).output_tokens, 50);
  EXPECT_EQ(FitContext({0, 5000, 5000, false}, 100).prompt_tokens, 50);
  EXPECT_EQ(FitContext({0, 10, 5000, false}, 100).output_tokens, 90);
  EXPECT_EQ(FitContext({0, 10, 5000, false}, 100).prompt_tokens, 10);
}

TEST(WorkloadTest, EveryCombinationFitsTheContextWithAtLeastOneTokenEach) {
  for (int64_t context : {2, 3, 17}) {
    for (int64_t prompt = 0; prompt < 40; ++prompt) {
      for (int64_t output = 0; output < 40; ++output) {
        const PlannedRequest request = FitContext({0, prompt, output, false}, context);
        EXPECT_GE(request.prompt_tokens, 1);
        EXPECT_GE(request.output_tokens, 1);
        EXPECT_LE(request.prompt_tokens + request.output_tokens, context);
      }
    }
  }
}

TEST(WorkloadTest, SyntheticLengthsReachBothEndsAndRepeatWithTheSeed) {
  SyntheticOptions options;
  options.prompt_tokens = {3, 5};
  options.output_tokens = {7, 8};
  options.context_tokens = 100;
  options.max_requests = 200;
  options.seed = 4;
  const auto workload = MakeSyntheticWorkload(options), again = MakeSyntheticWorkload(options);
  std::set<int64_t> prompts, outputs;
  int64_t count = 0;
  while (const std::optional<PlannedRequest> request = workload->Next()) {
    const std::optional<PlannedRequest> same = again->Next();
    EXPECT_EQ(request->prompt_tokens, same->prompt_tokens);
    EXPECT_EQ(request->arrival_seconds, 0);
    prompts.insert(request->prompt_tokens);
    outputs.insert(request->output_tokens);
    ++count;
  }
  EXPECT_EQ(count, 200);
  EXPECT_EQ(prompts, (std::set<int64_t>{3, 4, 5}));
  EXPECT_EQ(outputs, (std::set<int64_t>{7, 8}));
}

TEST(WorkloadTest, TracesAreSpedUpScaledAndCutOff) {
  TraceOptions options;
  options.speedup = 4;
  options.length_scale = 0.25;
  options.context_tokens = 100;
  options.max_requests = 2;
  const auto workload = MakeTraceWorkload({{0, 40, 0}, {10, 10000, 10}, {20, 1, 1}}, options);
  const std::optional<PlannedRequest> first = workload->Next(), second = workload->Next();
  EXPECT_EQ(first->prompt_tokens, 10);
  EXPECT_EQ(first->output_tokens, 1);  // at least one
  EXPECT_EQ(second->arrival_seconds, 2.5);
  EXPECT_EQ(second->output_tokens, 3);  // 2.5 rounds away from zero
  EXPECT_EQ(second->prompt_tokens, 97);
  EXPECT_TRUE(second->clipped);
  EXPECT_FALSE(workload->Next().has_value());
}

TEST(PromptSourceTest, RandomIdsAreOfTheVocabularyAndAllOccur) {
  PromptSource source(5, 1);
  v1::TokenIds ids;
  source.Fill(1000, ids);
  EXPECT_EQ(ids.ids_size(), 1000);
  EXPECT_EQ(std::set<int32_t>(ids.ids().begin(), ids.ids().end()), (std::set<int32_t>{0, 1, 2, 3, 4}));
}

TEST(PromptSourceTest, TextIsTakenInPiecesAndGoesRound) {
  PromptSource source({10, 11, 12}, 1);
  v1::TokenIds ids;
  source.Fill(7, ids);
  ASSERT_EQ(ids.ids_size(), 7);
  for (int i = 1; i < 7; ++i) EXPECT_EQ(ids.ids(i), ids.ids(i - 1) == 12 ? 10 : ids.ids(i - 1) + 1);
}

}  // namespace
}  // namespace ration
