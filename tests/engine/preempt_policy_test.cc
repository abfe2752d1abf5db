// BudgetPolicy::kPreempt: admission without promises; when pages run out somebody gives all of them up and is computed
// again, and what clients get is the same as if nothing had happened.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "tests/engine/governed_engine.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::GovernedEngine;
using testing::HarnessOptions;
using testing::RecordingSink;

// Full KV, 4 tokens a page, two layers, unless the ratio says otherwise.
GovernedEngine Preempting(int64_t num_pages, const std::string& ratio = "1:0:0", bool with_tokenizer = false) {
  return GovernedEngine(num_pages, ratio, [with_tokenizer](HarnessOptions& options) {
    options.engine.budget_policy = BudgetPolicy::kPreempt;
    if (!with_tokenizer) return;
    options.tokenizer = MakeTinyTokenizer();
    options.model.vocab_size = options.tokenizer->vocab_size();
  });
}

TEST(PreemptPolicy, RunsMoreAtOnceThanWorstCaseReservations) {
  int64_t most[2] = {};
  for (const BudgetPolicy policy : {BudgetPolicy::kStatic, BudgetPolicy::kPreempt}) {
    GovernedEngine engine(150, "1:0:0", [policy](HarnessOptions& options) { options.engine.budget_policy = policy; });
    std::vector<GenerationRequest> requests;
    std::vector<RecordingSink*> sinks;
    for (int i = 0; i < 10; ++i) {
      requests.push_back(engine->Request(absl::StrCat("r", i), 20, 100));  // 60 pages at its end, 10 for its prompt
      sinks.push_back(&engine->Submit(requests.back()));
    }
    int64_t& running = most[policy == BudgetPolicy::kPreempt ? 1 : 0];
    while (engine.Step()) running = std::max(running, engine.stats().requests_running);
    for (size_t i = 0; i < sinks.size(); ++i) {
      EXPECT_EQ(sinks[i]->finish()->reason, FinishReason::kLength);
      EXPECT_EQ(sinks[i]->token_ids(), engine->ExpectedGreedy(requests[i]));
    }
    EXPECT_EQ(engine.stats().preemptions > 0, policy == BudgetPolicy::kPreempt);
    EXPECT_EQ(engine.stats().regrouped_total(), 0);
  }
  EXPECT_EQ(most[0], 2);
  EXPECT_GE(most[1], 6);
}

TEST(PreemptPolicy, TheYoungestOfTheLowestPriorityGivesWay) {
  GovernedEngine engine = Preempting(100);
  struct Entry {
    std::string id;
    int32_t priority;
    RecordingSink* sink = nullptr;
  };
  std::vector<Entry> entries = {{"old", 0}, {"premium", 3}, {"young", 0}, {"young premium", 3}};
  for (Entry& entry : entries) {
    GenerationRequest request = engine->Request(entry.id, 20, 60);
    request.priority = entry.priority;
    entry.sink = &engine->Submit(request);
    engine.Step();
  }
  ASSERT_EQ(engine.stats().requests_running, 4);
  std::vector<size_t> before;
  while (engine.stats().preemptions == 0) {
    before.clear();
    for (const Entry& entry : entries) before.push_back(entry.sink->token_ids().size());
    ASSERT_TRUE(engine.Step());
  }
  EXPECT_EQ(engine.stats().preemptions, 1);
  EXPECT_EQ(engine.stats().requests_running, 3);
  EXPECT_EQ(engine.stats().requests_waiting, 1);
  for (size_t i = 0; i < entries.size(); ++i) {
    const size_t more = entries[i].sink->token_ids().size() - before[i];
    EXPECT_EQ(more, entries[i].id == "young" ? 0u : 1u) << entries[i].id;
  }
  engine.RunUntilIdle();
  for (const Entry& entry : entries) EXPECT_EQ(entry.sink->token_ids().size(), 60u);
}

TEST(PreemptPolicy, APreemptedRequestIsNotEndedByItsQueueDeadline) {
  GovernedEngine engine = Preempting(70);
  GenerationRequest old = engine->Request("old", 20, 60);
  GenerationRequest young = engine->Request("young", 20, 60);
  young.queue_deadline = engine->clock().Now() + absl::Seconds(1);
  RecordingSink& first = engine->Submit(old);
  RecordingSink& second = engine->Submit(young);
  while (engine.stats().preemptions == 0) ASSERT_TRUE(engine.Step());
  engine->clock().Advance(absl::Seconds(100));
  engine.RunUntilIdle();
  EXPECT_EQ(first.token_ids(), engine->ExpectedGreedy(old));
  EXPECT_EQ(second.token_ids(), engine->ExpectedGreedy(young));
  EXPECT_EQ(second.finish()->reason, FinishReason::kLength);
  EXPECT_LT(second.finish()->queue_time, absl::Seconds(1));  // of the first time
}

struct Outcome {
  std::vector<int32_t> tokens;
  std::string text;
  FinishReason reason = FinishReason::kError;
  std::optional<std::string> stop_string;
};

Outcome OutcomeOf(const RecordingSink& sink) {
  return {sink.token_ids(), sink.text(), sink.finish()->reason, sink.finish()->stop_string};
}

Outcome Alone(const GenerationRequest& request, const std::string& ratio) {
  GovernedEngine engine = Preempting(3000, ratio, /*with_tokenizer=*/true);
  RecordingSink& sink = engine->Submit(request);
  engine.RunUntilIdle();
  return OutcomeOf(sink);
}

// Letters that are sampled, so that texts have something to stop at.
GenerationRequest Sampled(EngineHarness& harness, const std::string& id, uint64_t seed, int64_t prompt,
                          int64_t new_tokens) {
  GenerationRequest request = harness.Request(id, prompt, new_tokens);
  for (int32_t& token : request.prompt_tokens) token = kTinyFirstCharacterId + 1 + token % 26;
  for (int32_t token = 0; token <= kTinyFirstCharacterId; ++token)
    request.sampling.logit_bias.push_back({token, -100.0f});
  request.sampling.temperature = 0.9f;
  request.sampling.frequency_penalty = 0.3f;
  request.sampling.repetition_penalty = 1.1f;
  request.sampling.seed = seed;
  return request;
}

TEST(PreemptPolicy, WhatIsGeneratedIsWhatWouldBeAlone) {
  for (const char* ratio : {"1:0:0", "3:1:6", "0:0:1"}) {
    SCOPED_TRACE(ratio);
    GovernedEngine engine = Preempting(std::string(ratio) == "1:0:0"   ? 130
                                       : std::string(ratio) == "3:1:6" ? 80
                                                                       : 40,
                                       ratio,
                                       /*with_tokenizer=*/true);
    std::vector<Outcome> expected;
    std::vector<RecordingSink*> sinks;
    int64_t stops = 0;
    for (int i = 0; i < 12; ++i) {
      GenerationRequest request =
          Sampled(*engine.operator->(), absl::StrCat("r", i), 100 + i, 5 + 4 * (i % 4), 50 + 10 * (i % 5));
      if (i % 3 == 0) {
        // Stops late in the text, so that it may have been held back when its request was preempted.
        const std::string text = Alone(request, ratio).text;
        request.stopping.stop_strings = {text.substr(text.size() * 3 / 4, 4)};
        request.stopping.include_stop_string = i % 2 == 0;
      }
      expected.push_back(Alone(request, ratio));
      stops += expected.back().reason == FinishReason::kStop ? 1 : 0;
      sinks.push_back(&engine->Submit(request));
    }
    EXPECT_EQ(stops, 4);
    engine.RunUntilIdle();
    EXPECT_GT(engine.stats().preemptions, 3);
    for (size_t i = 0; i < sinks.size(); ++i) {
      const Outcome got = OutcomeOf(*sinks[i]);
      EXPECT_EQ(got.tokens, expected[i].tokens) << i;
      EXPECT_EQ(got.text, expected[i].text) << i;
      EXPECT_EQ(got.reason, expected[i].reason) << i;
      EXPECT_EQ(got.stop_string, expected[i].stop_string) << i;
    }
    EXPECT_EQ(engine.stats().kv_used_bytes, 0);
  }
}

// What was computed again used to count as prompt, also what had been generated.
TEST(PreemptPolicy, EveryTokenIsCountedOnceAndWhatIsComputedAgainApart) {
  for (const char* ratio : {"1:0:0", "3:1:6"}) {
    SCOPED_TRACE(ratio);
    // Room for the longest of them alone and little more, and prompts of several steps, some of which are preempted half computed.
    GovernedEngine engine(std::string(ratio) == "1:0:0" ? 130 : 80, ratio, [](HarnessOptions& options) {
      options.engine.budget_policy = BudgetPolicy::kPreempt;
      options.engine.max_batched_tokens = options.model.routing_window + options.engine.max_running_requests;
    });
    std::vector<RecordingSink*> sinks;
    int64_t prompts = 0, generated = 0;
    for (int i = 0; i < 12; ++i) {
      const int64_t prompt = 5 + 11 * (i % 4), output = 50 + 10 * (i % 5);
      sinks.push_back(&engine->Submit(engine->Request(absl::StrCat("r", i), prompt, output)));
      prompts += prompt;
      generated += output;
    }
    engine.RunUntilIdle();
    const auto step_tokens = static_cast<int64_t>(engine.stats().step_tokens.sum);
    EXPECT_GT(engine.stats().preemptions, 3);
    EXPECT_EQ(engine.stats().prompt_tokens, prompts);
    EXPECT_EQ(engine.stats().generated_tokens, generated);
    EXPECT_GT(engine.stats().recomputed_tokens, engine.stats().preemptions);
    // The last token of each request is never put through the model.
    const int64_t once = prompts + generated - static_cast<int64_t>(sinks.size());
    EXPECT_EQ(engine.stats().recomputed_tokens, step_tokens - once);
    for (size_t i = 0; i < sinks.size(); ++i) {
      const FinishInfo finish = sinks[i]->finish().value();
      const auto sum = [](const std::vector<double>& tokens) { return std::accumulate(tokens.begin(), tokens.end(), 0.0); };
      EXPECT_NEAR(sum(finish.kv.prompt_tokens_per_expert), finish.prompt_tokens, 1e-6) << i;
      EXPECT_NEAR(sum(finish.kv.generated_tokens_per_expert), finish.generated_tokens - 1, 1e-6) << i;
    }
  }
}

TEST(PreemptPolicy, ARequestThatJustFitsAloneAlwaysFinishes) {
  for (const char* ratio : {"1:0:0", "3:1:6"}) {
    int64_t pages = 0;
    {
      GovernedEngine probe = Preempting(3000, ratio);
      pages = probe->spec().WorstCasePages(probe->router(), 50, 70);
    }
    GovernedEngine engine = Preempting(pages, ratio);
    const GenerationRequest large = engine->Request("large", 50, 70);
    // Young and in company of others that come all the time.
    std::vector<GenerationRequest> requests;
    std::vector<RecordingSink*> sinks;
    int64_t next = 0;
    const auto submit_small = [&] {
      requests.push_back(engine->Request(absl::StrCat("small", next++), 8, 40));
      sinks.push_back(&engine->Submit(requests.back()));
    };
    for (int i = 0; i < 4; ++i) submit_small();
    RecordingSink& sink = engine->Submit(large);
    for (int64_t step = 0; !sink.finished(); ++step) {
      ASSERT_LT(step, 20000) << "starved";
      if (step % 20 == 0 && step < 10000) submit_small();
      engine.Step();
    }
    EXPECT_EQ(sink.token_ids(), engine->ExpectedGreedy(large));
    EXPECT_EQ(sink.finish()->reason, FinishReason::kLength);
    engine.RunUntilIdle();
    for (size_t i = 0; i < sinks.size(); ++i)
      ASSERT_EQ(sinks[i]->token_ids(), engine->ExpectedGreedy(requests[i])) << i;
    // One token more and it is refused.
    const absl::Status refused = engine->SubmitStatus(engine->Request("larger", 55, 80));
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  }
}

TEST(PreemptPolicy, ASmallerBudgetPreemptsAndALargerOneBringsBack) {
  GovernedEngine engine = Preempting(300);
  std::vector<GenerationRequest> requests;
  std::vector<RecordingSink*> sinks;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(engine->Request(absl::StrCat("r", i), 40, 50));  // 46 pages at most
    sinks.push_back(&engine->Submit(requests.back()));
  }
  engine.Steps(20);
  ASSERT_EQ(engine.stats().preemptions, 0);
  const auto down = engine.SetBudget(100);
  ASSERT_TRUE(down->has_value() && (*down)->ok());
  EXPECT_GT((**down)->requests_preempted, 0);
  EXPECT_EQ((**down)->requests_preempted, engine.stats().preemptions);
  EXPECT_LE(engine.used_pages(), 100);
  EXPECT_EQ((**down)->regrouped_token_layers, 0);
  // Less than one of them needs alone.
  const auto refused = engine.SetBudget(40);
  EXPECT_EQ((*refused)->status().code(), absl::StatusCode::kFailedPrecondition);
  engine.Steps(5);
  const auto up = engine.SetBudget(400);
  EXPECT_TRUE(up->has_value() && (*up)->ok());
  engine.RunUntilIdle();
  for (size_t i = 0; i < sinks.size(); ++i) EXPECT_EQ(sinks[i]->token_ids(), engine->ExpectedGreedy(requests[i])) << i;
}

}  // namespace
}  // namespace ration
