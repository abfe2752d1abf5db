// What the engine refuses and why, queue bounds, and that neither large nor small requests starve.
#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/base/retry_hint.h"
#include "engine/engine.h"
#include "tests/engine/engine_harness.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::HarnessOptions;
using testing::RecordingSink;

int64_t Rejected(const Engine& engine, RejectReason reason) {
  return engine.stats().rejections[static_cast<size_t>(reason)];
}

class ValidateRequestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    model_.num_layers = 2;
    model_.vocab_size = 100;
    model_.max_positions = 512;
    request_.request_id = "r";
    request_.prompt_tokens = {1, 2, 3};
  }
  // Expects InvalidArgument with exactly this message.
  void ExpectInvalid(const std::string& message) {
    const absl::Status status = ValidateRequest(request_, model_, /*has_tokenizer=*/true);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(status.message()), message);
  }

  ModelInfo model_;
  GenerationRequest request_;
};

TEST_F(ValidateRequestTest, AcceptsDefaultsAndTheEdgesOfEveryRange) {
  EXPECT_TRUE(ValidateRequest(request_, model_, false).ok());
  request_.request_id = std::string(256, 'x');
  request_.prompt_tokens = {0, 99};
  request_.sampling = {/*temperature=*/0,
                       /*top_k=*/0,
                       /*top_p=*/1,
                       /*min_p=*/0,
                       1e-3f,
                       2,
                       -2,
                       {{99, 100.0f}, {0, -100.0f}},
                       7};
  request_.stopping = {/*max_new_tokens=*/510,
                       /*min_new_tokens=*/510,
                       {0, 99},
                       {"stop"},
                       true,
                       true};
  request_.response.top_logprobs = 20;
  EXPECT_TRUE(ValidateRequest(request_, model_, true).ok()) << ValidateRequest(request_, model_, true);
}

TEST_F(ValidateRequestTest, NamesFieldLimitAndValue) {
  const GenerationRequest good = request_;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  request_.request_id = "";
  ExpectInvalid("request_id: must have 1 to 256 bytes, not 0: \"\"");
  request_ = good;
  request_.prompt_tokens = {};
  ExpectInvalid("prompt: must have at least 1 token, not 0");
  request_.prompt_tokens.assign(512, 1);
  ExpectInvalid("prompt: must be shorter than the context of 512 tokens, not 512 tokens");
  request_.prompt_tokens = {1, 100};
  ExpectInvalid("token_ids.ids[1]: must be a token id in [0, 100), not 100");
  request_.prompt_tokens = {-1};
  ExpectInvalid("token_ids.ids[0]: must be a token id in [0, 100), not -1");
  request_ = good;
  request_.sampling.temperature = -0.5f;
  ExpectInvalid("sampling.temperature: must be a finite number >= 0, not -0.5");
  request_.sampling.temperature = nan;
  ExpectInvalid("sampling.temperature: must be a finite number >= 0, not nan");
  request_ = good;
  request_.sampling.top_k = -1;
  ExpectInvalid("sampling.top_k: must be >= 0 (0 keeps all tokens), not -1");
  request_ = good;
  request_.sampling.top_p = 1.5f;
  ExpectInvalid("sampling.top_p: must be in (0, 1], not 1.5");
  request_.sampling.top_p = 0;
  ExpectInvalid("sampling.top_p: must be in (0, 1], not 0");
  request_ = good;
  request_.sampling.min_p = 1;
  ExpectInvalid("sampling.min_p: must be in [0, 1), not 1");
  request_ = good;
  request_.sampling.repetition_penalty = 0;
  ExpectInvalid("sampling.repetition_penalty: must be a finite number > 0, not 0");
  request_ = good;
  request_.sampling.presence_penalty = 2.5f;
  ExpectInvalid("sampling.presence_penalty: must be in [-2, 2], not 2.5");
  request_ = good;
  request_.sampling.frequency_penalty = nan;
  ExpectInvalid("sampling.frequency_penalty: must be in [-2, 2], not nan");
  request_ = good;
  request_.sampling.logit_bias = {{100, 1.0f}};
  ExpectInvalid("sampling.logit_bias: must be for token ids in [0, 100), not 100");
  request_.sampling.logit_bias = {{5, 101.0f}};
  ExpectInvalid("sampling.logit_bias[5]: must be in [-100, 100], not 101");
  request_ = good;
  request_.stopping.max_new_tokens = 0;
  ExpectInvalid("stopping.max_new_tokens: must be >= 1, not 0");
  request_.stopping.max_new_tokens = 510;
  ExpectInvalid(
      "stopping.max_new_tokens: must be at most 509 behind a prompt of 3 tokens in a context of 512, not 510");
  request_.stopping.max_new_tokens = std::numeric_limits<int64_t>::max();
  EXPECT_FALSE(ValidateRequest(request_, model_, true).ok());
  request_.stopping = {};
  request_.stopping.min_new_tokens = 129;
  ExpectInvalid("stopping.min_new_tokens: must be in [0, max_new_tokens = 128], not 129");
  request_.stopping.min_new_tokens = -1;
  ExpectInvalid("stopping.min_new_tokens: must be in [0, max_new_tokens = 128], not -1");
  request_ = good;
  request_.stopping.stop_token_ids = {5, 100};
  ExpectInvalid("stopping.stop_token_ids[1]: must be a token id in [0, 100), not 100");
  request_ = good;
  request_.stopping.stop_strings = {"x", ""};
  ExpectInvalid("stopping.stop_strings[1]: must not be empty");
  request_.stopping.stop_strings.assign(17, "x");
  ExpectInvalid("stopping.stop_strings: must be at most 16 strings, not 17");
  request_.stopping.stop_strings = {"x"};
  EXPECT_FALSE(ValidateRequest(request_, model_, /*has_tokenizer=*/false).ok());
  request_ = good;
  request_.response.top_logprobs = 21;
  ExpectInvalid("response.top_logprobs: must be in [0, 20], not 21");
}

TEST(EngineLimits, OptionsOutOfRangeAreRefusedByName) {
  EngineHarness harness;
  const auto create = [&](Engine::Options options) {
    return Engine::Create(options, harness.spec(), &harness.model(), &harness.routers(), nullptr, nullptr, &harness.clock())
        .status();
  };
  Engine::Options options;
  EXPECT_NE(create(options).message().find("num_pages"), absl::string_view::npos);
  options.num_pages = 10;
  EXPECT_TRUE(create(options).ok());
  options.max_running_requests = 100;
  options.max_batched_tokens = 115;  // the window is 16
  EXPECT_NE(create(options).message().find(
                "max_batched_tokens: must be at least routing_window + max_running_requests = 16 + 100"),
            absl::string_view::npos)
      << create(options);
  options.max_batched_tokens = 116;
  EXPECT_TRUE(create(options).ok());
  options.policy.max_queued_requests = 0;
  EXPECT_EQ(create(options).message(), "max_queued_requests: must be at least 1, not 0");
}

TEST(EngineLimits, ARequestThatCanNeverFitIsRefusedWithBytes) {
  HarnessOptions options;
  options.engine.num_pages = 64;
  EngineHarness harness(std::move(options));
  const absl::Status status = harness.SubmitStatus(harness.Request("big", 100, 400));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  const int64_t pages = harness.spec().WorstCasePages(harness.router(), 100, 400);
  ASSERT_GT(pages, 64);
  EXPECT_NE(
      status.message().find("KiB of KV cache for 100 prompt and 400 new tokens at ratio 0.3:0.1:0.6, the budget is "),
      absl::string_view::npos)
      << status;
  EXPECT_FALSE(RetryHint(status).has_value());  // waiting does not help
  EXPECT_EQ(Rejected(harness.engine(), RejectReason::kTooLarge), 1);
  // The largest that fits runs alone.
  int64_t fits = 1;
  while (harness.spec().WorstCasePages(harness.router(), 20, fits + 1) <= 64) ++fits;
  RecordingSink& sink = harness.Submit(harness.Request("fits", 20, fits));
  harness.RunUntilIdle();
  EXPECT_EQ(sink.finish()->generated_tokens, fits);
}

TEST(EngineLimits, TooLongForTheContextIsRefusedAndCounted) {
  EngineHarness harness;
  EXPECT_EQ(harness.SubmitStatus(harness.Request("a", 4096, 1)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(harness.SubmitStatus(harness.Request("a", 4000, 97)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Rejected(harness.engine(), RejectReason::kContextTooLong), 2);
  EXPECT_EQ(harness.SubmitStatus(harness.Request("", 10, 10)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Rejected(harness.engine(), RejectReason::kContextTooLong), 2);
}

TEST(EngineLimits, TheContextMayBeFilledToItsLastToken) {
  HarnessOptions options;
  options.model.max_positions = 64;
  EngineHarness harness(std::move(options));
  RecordingSink& sink = harness.Submit(harness.Request("a", 40, 24));
  harness.RunUntilIdle();
  EXPECT_EQ(sink.finish()->generated_tokens, 24);
}

TEST(EngineLimits, TheQueueIsBounded) {
  HarnessOptions options;
  options.engine.max_running_requests = 1;
  options.engine.policy.max_queued_requests = 3;
  EngineHarness harness(std::move(options));
  harness.Submit(harness.Request("running", 5, 100));
  harness.engine().Step();
  for (int i = 0; i < 3; ++i) harness.Submit(harness.Request(absl::StrCat("queued", i), 5, 2));
  const absl::Status status = harness.SubmitStatus(harness.Request("one more", 5, 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the queue is full: 3 requests are waiting, the limit");
  EXPECT_TRUE(RetryHint(status).has_value());
  EXPECT_EQ(Rejected(harness.engine(), RejectReason::kQueueFull), 1);
  harness.RunUntilIdle();
  EXPECT_EQ(harness.engine().stats().requests_finished[static_cast<size_t>(FinishReason::kLength)], 4);
}

// One runs and three wait, all of them alike: what a fourth that wants to wait is told.
absl::Duration HintOfAFullQueue(EngineHarness& harness, const std::string& prefix, int64_t new_tokens) {
  harness.Submit(harness.Request(absl::StrCat(prefix, "running"), 5, new_tokens));
  harness.engine().Step();
  for (int i = 0; i < 3; ++i) harness.Submit(harness.Request(absl::StrCat(prefix, i), 5, new_tokens));
  const absl::Status refused = harness.SubmitStatus(harness.Request(absl::StrCat(prefix, "more"), 5, new_tokens));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  return RetryHint(refused).value_or(absl::ZeroDuration());
}

TEST(EngineLimits, AFullQueueHintsAtHowOftenPlacesBecomeFree) {
  HarnessOptions options;
  options.engine.max_running_requests = 1;
  options.engine.policy.max_queued_requests = 3;
  EngineHarness harness(std::move(options));
  const auto run = [&harness](absl::Duration step) {
    while (harness.engine().Step()) harness.clock().Advance(step);
  };
  EXPECT_EQ(HintOfAFullQueue(harness, "first", 10), absl::Seconds(1));  // nothing is known yet
  run(absl::Milliseconds(500));
  for (int i = 0; i < 60; ++i) {
    HintOfAFullQueue(harness, absl::StrCat("slow", i), 10);
    run(absl::Milliseconds(500));
  }
  // Ten steps of half a second.
  EXPECT_NEAR(absl::ToDoubleSeconds(HintOfAFullQueue(harness, "five seconds", 10)), 5, 0.1);
  run(absl::Milliseconds(500));
  // A rest, and requests that nobody waits behind, change nothing: they say how seldom requests come.
  for (int i = 0; i < 30; ++i) {
    harness.clock().Advance(absl::Hours(1));
    harness.Submit(harness.Request(absl::StrCat("alone", i), 5, 2));
    run(absl::Milliseconds(500));
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(HintOfAFullQueue(harness, "after a rest", 10)), 5, 0.1);
  run(absl::Milliseconds(500));
  // It is bounded on both sides.
  for (int i = 0; i < 60; ++i) {
    HintOfAFullQueue(harness, absl::StrCat("fast", i), 2);
    run(absl::Microseconds(10));
  }
  EXPECT_EQ(HintOfAFullQueue(harness, "fast", 10), absl::Milliseconds(100));
  run(absl::Minutes(10));
  for (int i = 0; i < 10; ++i) {
    HintOfAFullQueue(harness, absl::StrCat("stuck", i), 2);
    run(absl::Minutes(10));
  }
  EXPECT_EQ(HintOfAFullQueue(harness, "stuck", 10), absl::Minutes(1));
}

TEST(EngineLimits, AnIdIsUniqueAmongLiveRequestsOnly) {
  EngineHarness harness;
  RecordingSink& first = harness.Submit(harness.Request("a", 5, 3));
  EXPECT_EQ(harness.SubmitStatus(harness.Request("a", 5, 3)).code(), absl::StatusCode::kAlreadyExists);
  harness.RunUntilIdle();
  EXPECT_TRUE(first.finished());
  RecordingSink& second = harness.Submit(harness.Request("a", 5, 3));
  harness.RunUntilIdle();
  EXPECT_EQ(first.token_ids(), second.token_ids());
}

TEST(EngineLimits, ALargeRequestIsServedThoughSmallOnesKeepComing) {
  HarnessOptions options;
  options.engine.num_pages = 200;
  options.engine.max_overtakes = 5;
  EngineHarness harness(std::move(options));
  // Two small ones always run, so that the pool is never empty; the large one needs nearly all of it.
  int next = 0;
  std::vector<RecordingSink*> small;
  const auto submit_small = [&] {
    small.push_back(&harness.Submit(harness.Request(absl::StrCat("small", next++), 10, 10)));
  };
  submit_small();
  harness.engine().Step();
  int64_t new_tokens = 1;
  while (harness.spec().WorstCasePages(harness.router(), 100, new_tokens + 1) <= 200) ++new_tokens;
  RecordingSink& large = harness.Submit(harness.Request("large", 100, new_tokens));
  int64_t served_before = 0;
  for (int step = 0; step < 5000 && !large.finished(); ++step) {
    if (step % 5 == 0) submit_small();
    harness.engine().Step();
    harness.engine().CheckInvariants();
    if (large.num_deltas() == 0) served_before = next;
  }
  EXPECT_TRUE(large.finished());
  int64_t overtook = 0;
  for (RecordingSink* sink : small) overtook += sink->finished() && sink->finish()->generated_tokens > 0;
  EXPECT_GE(overtook, 5);
  EXPECT_LT(served_before, 30) << "the large request waited for too many small ones";
  harness.RunUntilIdle();
  for (RecordingSink* sink : small) EXPECT_EQ(sink->finish()->reason, FinishReason::kLength);
}

}  // namespace
}  // namespace ration
