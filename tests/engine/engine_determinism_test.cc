// The same request gives the same tokens, whatever else runs, however prompts are chunked and whoever pauses; and the
// logits the engine samples from are those of the sequence itself.
#include <random>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "tests/engine/engine_harness.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::FakeModel;
using testing::HarnessOptions;
using testing::RecordingSink;

GenerationRequest Sampled(const EngineHarness& harness, const std::string& id, int64_t prompt, int64_t new_tokens) {
  GenerationRequest request = harness.Request(id, prompt, new_tokens);
  request.sampling.temperature = 0.9f;
  request.sampling.top_p = 0.95f;
  request.sampling.repetition_penalty = 1.2f;
  request.sampling.seed = 12345;
  request.response.top_logprobs = 3;
  return request;
}

struct Result {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<double> experts;
  bool operator==(const Result& other) const {
    return tokens == other.tokens && logprobs == other.logprobs && experts == other.experts;
  }
};

Result ResultOf(const RecordingSink& sink) {
  Result result;
  result.tokens = sink.token_ids();
  for (const TokenLogprob& logprob : sink.logprobs()) {
    result.logprobs.push_back(logprob.logprob);
    for (const auto& [id, value] : logprob.top) result.logprobs.push_back(value);
  }
  const KvAccounting kv = sink.finish()->kv;
  result.experts = kv.prompt_tokens_per_expert;
  result.experts.insert(result.experts.end(), kv.generated_tokens_per_expert.begin(),
                        kv.generated_tokens_per_expert.end());
  return result;
}

Result Alone(int64_t prompt, int64_t new_tokens) {
  EngineHarness harness;
  RecordingSink& sink = harness.Submit(Sampled(harness, "x", prompt, new_tokens));
  harness.RunUntilIdle();
  return ResultOf(sink);
}

TEST(EngineDeterminism, ChunkingChangesNothing) {
  const Result alone = Alone(150, 60);
  ASSERT_EQ(alone.tokens.size(), 60u);
  ASSERT_EQ(alone.logprobs.size(), 60u * 4);
  for (int64_t max_batched_tokens : {17, 20, 33, 64, 100, 150, 1000}) {
    HarnessOptions options;
    options.engine.max_running_requests = 1;
    options.engine.max_batched_tokens = max_batched_tokens;
    EngineHarness harness(std::move(options));
    int64_t prefill_steps = 0, largest = 0;
    harness.model().on_forward = [&](const ForwardBatch& batch) {
      prefill_steps += batch.sequences[0].phase == Phase::kPrefill;
      largest = std::max(largest, batch.num_tokens());
    };
    RecordingSink& sink = harness.Submit(Sampled(harness, "x", 150, 60));
    harness.RunUntilIdle();
    EXPECT_TRUE(ResultOf(sink) == alone) << max_batched_tokens;
    EXPECT_LE(largest, max_batched_tokens);
    const int64_t chunk = max_batched_tokens / 16 * 16;
    EXPECT_EQ(prefill_steps, max_batched_tokens >= 150 ? 1 : (150 + chunk - 1) / chunk) << max_batched_tokens;
  }
}

TEST(EngineDeterminism, OtherLoadChangesNothing) {
  const Result alone = Alone(150, 60);
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    std::mt19937 random(seed);
    HarnessOptions options;
    options.engine.max_batched_tokens = 80;
    options.engine.max_running_requests = 8;
    EngineHarness harness(std::move(options));
    int other = 0;
    const auto submit_others = [&](int count) {
      for (int i = 0; i < count; ++i) {
        GenerationRequest request =
            Sampled(harness, absl::StrCat("other", other++), 1 + random() % 200, 1 + random() % 40);
        request.sampling.seed = random();
        harness.Submit(request);
      }
    };
    submit_others(static_cast<int>(random() % 4));
    RecordingSink& sink = harness.Submit(Sampled(harness, "x", 150, 60), /*capacity=*/7);
    for (int step = 0; !sink.finished(); ++step) {
      ASSERT_LT(step, 100000);
      if (random() % 3 == 0 && other < 60) submit_others(1);
      if (random() % 10 == 0) harness.engine().Abort(absl::StrCat("other", random() % 60));
      harness.engine().Step();
      harness.engine().CheckInvariants();
      if (random() % 8 == 0) {
        sink.Drain();
        harness.engine().Resume("x");
      }
    }
    EXPECT_TRUE(ResultOf(sink) == alone) << seed;
    harness.RunUntilIdle();
    EXPECT_EQ(harness.engine().stats().kv_used_bytes, 0);
  }
}

TEST(EngineDeterminism, ManyGreedyStreamsAtOnceAllMatchTheModel) {
  HarnessOptions options;
  options.engine.max_batched_tokens = 128;
  options.engine.max_running_requests = 64;
  EngineHarness harness(std::move(options));
  std::vector<GenerationRequest> requests;
  std::vector<RecordingSink*> sinks;
  for (int i = 0; i < 64; ++i) {
    requests.push_back(harness.Request(absl::StrCat("r", i), 1 + i * 7 % 90, 10 + i % 30));
    sinks.push_back(&harness.Submit(requests.back()));
  }
  harness.RunUntilIdle();
  for (int i = 0; i < 64; ++i) EXPECT_EQ(sinks[i]->token_ids(), harness.ExpectedGreedy(requests[i])) << i;
}

TEST(EngineDeterminism, WithoutASeedEachRequestDrawsItsOwnAndReportsIt) {
  EngineHarness harness;
  const auto submit = [&](EngineHarness& at, const std::string& id, std::optional<uint64_t> seed) -> RecordingSink& {
    GenerationRequest request = Sampled(at, "same prompt", 20, 30);
    request.request_id = id;
    request.sampling.seed = seed;
    return at.Submit(request);
  };
  RecordingSink& a = submit(harness, "a", std::nullopt);
  RecordingSink& b = submit(harness, "b", std::nullopt);
  harness.RunUntilIdle();
  EXPECT_NE(a.prompt()->seed, b.prompt()->seed);
  EXPECT_NE(a.token_ids(), b.token_ids());
  // The reported seed reproduces the tokens, on another engine too.
  EngineHarness other;
  RecordingSink& again = submit(other, "again", b.prompt()->seed);
  other.RunUntilIdle();
  EXPECT_EQ(again.token_ids(), b.token_ids());
  EXPECT_EQ(again.prompt()->seed, b.prompt()->seed);
}

TEST(EngineDeterminism, LongPromptsEnterWhileOthersDecodeEveryStep) {
  HarnessOptions options;
  options.engine.max_running_requests = 4;
  options.engine.max_batched_tokens = 20;
  EngineHarness harness(std::move(options));
  RecordingSink& decoding = harness.Submit(harness.Request("decoding", 5, 100));
  harness.engine().Step();
  harness.Submit(harness.Request("long", 800, 5));
  for (int64_t step = 2; step <= 40; ++step) {
    harness.engine().Step();
    EXPECT_EQ(decoding.num_deltas(), step);
  }
}

}  // namespace
}  // namespace ration
