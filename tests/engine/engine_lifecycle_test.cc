// How requests live and end: every finish reason, pause and resume, deadlines, failures of the model, and what is
// booked for them.
#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "tests/engine/engine_harness.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::HarnessOptions;
using testing::RecordingSink;

void ExpectNothingHeld(const Engine& engine) {
  engine.CheckInvariants();
  EXPECT_FALSE(engine.HasRequests());
  EXPECT_EQ(engine.stats().kv_used_bytes, 0);
  EXPECT_EQ(engine.stats().kv_reserved_bytes, 0);
  EXPECT_EQ(engine.stats().kv_waste_bytes, 0);
  EXPECT_EQ(engine.stats().requests_running, 0);
  EXPECT_EQ(engine.stats().requests_waiting, 0);
  EXPECT_EQ(engine.stats().waiting_tokens, 0);
}

int64_t Finished(const Engine& engine, FinishReason outcome) {
  return engine.stats().requests_finished[static_cast<size_t>(outcome)];
}

TEST(EngineLifecycle, GeneratesGreedilyUntilMaxNewTokens) {
  EngineHarness harness;
  const GenerationRequest request = harness.Request("a", 37, 20);
  RecordingSink& sink = harness.Submit(request);
  harness.RunUntilIdle();
  EXPECT_EQ(sink.token_ids(), harness.ExpectedGreedy(request));
  ASSERT_TRUE(sink.finished());
  EXPECT_EQ(sink.finish()->reason, FinishReason::kLength);
  EXPECT_TRUE(sink.finish()->status.ok());
  EXPECT_EQ(sink.finish()->prompt_tokens, 37);
  EXPECT_EQ(sink.finish()->generated_tokens, 20);
  EXPECT_EQ(sink.prompt()->prompt_tokens, 37);
  EXPECT_EQ(sink.num_deltas(), 20);  // a piece a token, the last with the end
  // 37 prompt tokens in one step, then 19 of the 20 generated ones: the last is not put through the model.
  EXPECT_EQ(harness.model().num_forwards(), 20);
  EXPECT_EQ(Finished(harness.engine(), FinishReason::kLength), 1);
  ExpectNothingHeld(harness.engine());
}

TEST(EngineLifecycle, OneNewTokenEndsWithThePrefill) {
  EngineHarness harness;
  RecordingSink& sink = harness.Submit(harness.Request("a", 1, 1));
  EXPECT_TRUE(harness.engine().Step());
  EXPECT_TRUE(sink.finished());
  EXPECT_EQ(sink.num_deltas(), 1);
  EXPECT_FALSE(harness.engine().Step());
  ExpectNothingHeld(harness.engine());
}

// The index of the first token in `tokens` that did not occur before it, at least `from`.
size_t FirstNewToken(const std::vector<int32_t>& tokens, size_t from) {
  for (size_t i = from; i < tokens.size(); ++i) {
    if (std::find(tokens.begin(), tokens.begin() + i, tokens[i]) == tokens.begin() + i) return i;
  }
  ADD_FAILURE() << "no such token";
  return 0;
}

TEST(EngineLifecycle, EndOfTextEndsTheSequenceAndIsCounted) {
  EngineHarness probe;
  const GenerationRequest request = probe.Request("a", 30, 40);
  const std::vector<int32_t> expected = probe.ExpectedGreedy(request);
  const size_t stop = FirstNewToken(expected, 3);

  HarnessOptions options;
  options.engine.eos_token_ids = {expected[stop], 1 << 30};  // the second is outside the vocabulary: ignored
  EngineHarness harness(std::move(options));
  RecordingSink& sink = harness.Submit(request);
  harness.RunUntilIdle();
  EXPECT_EQ(sink.token_ids(), std::vector<int32_t>(expected.begin(), expected.begin() + stop + 1));
  EXPECT_EQ(sink.finish()->reason, FinishReason::kStop);
  EXPECT_EQ(sink.finish()->stop_token_id, expected[stop]);
  EXPECT_FALSE(sink.finish()->stop_string.has_value());

  GenerationRequest ignoring = request;
  ignoring.request_id = "b";
  ignoring.stopping.ignore_eos = true;
  RecordingSink& all = harness.Submit(ignoring);
  harness.RunUntilIdle();
  EXPECT_EQ(all.token_ids(), expected);
  EXPECT_EQ(all.finish()->reason, FinishReason::kLength);
  ExpectNothingHeld(harness.engine());
}

TEST(EngineLifecycle, StopTokensOfTheRequestAndMinNewTokens) {
  EngineHarness harness;
  GenerationRequest request = harness.Request("a", 30, 40);
  const std::vector<int32_t> expected = harness.ExpectedGreedy(request);
  const size_t stop = FirstNewToken(expected, 5);
  request.stopping.stop_token_ids = {expected[stop]};
  RecordingSink& sink = harness.Submit(request);

  GenerationRequest later = request;
  later.request_id = "b";
  later.stopping.min_new_tokens =
      static_cast<int64_t>(stop) + 1;  // the stop would be token number stop + 1: too early by one
  RecordingSink& held = harness.Submit(later);
  harness.RunUntilIdle();

  EXPECT_EQ(sink.finish()->reason, FinishReason::kStop);
  EXPECT_EQ(sink.finish()->generated_tokens, static_cast<int64_t>(stop) + 1);
  EXPECT_GT(held.finish()->generated_tokens, static_cast<int64_t>(stop) + 1);
  EXPECT_NE(held.token_ids()[stop], expected[stop]);
}

TEST(EngineLifecycle, AbortFreesARunningSequenceAtOnce) {
  EngineHarness harness;
  const GenerationRequest request = harness.Request("a", 100, 50);
  RecordingSink& sink = harness.Submit(request);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(harness.engine().Step());
  EXPECT_GT(harness.engine().stats().kv_used_bytes, 0);
  EXPECT_TRUE(harness.engine().Abort("a"));
  ExpectNothingHeld(harness.engine());
  EXPECT_EQ(sink.finish()->reason, FinishReason::kAborted);
  EXPECT_TRUE(sink.finish()->status.ok());
  EXPECT_EQ(sink.finish()->generated_tokens, 5);
  EXPECT_FALSE(harness.engine().Abort("a"));
  EXPECT_FALSE(harness.engine().Step());
  EXPECT_EQ(Finished(harness.engine(), FinishReason::kAborted), 1);
}

TEST(EngineLifecycle, AbortBeforeTheFirstStepStillOpensAndEndsTheStream) {
  EngineHarness harness;
  RecordingSink& sink = harness.Submit(harness.Request("a", 10, 5));
  EXPECT_EQ(harness.engine().stats().requests_waiting, 1);
  EXPECT_EQ(harness.engine().stats().waiting_tokens, 10);
  EXPECT_TRUE(harness.engine().Abort("a", FinishReason::kShutdown));
  EXPECT_EQ(sink.num_deltas(), 1);
  EXPECT_EQ(sink.finish()->reason, FinishReason::kShutdown);
  EXPECT_EQ(sink.finish()->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sink.finish()->kv.peak_kv_bytes, 0);
  ExpectNothingHeld(harness.engine());
}

TEST(EngineLifecycle, TheEnginesEndEndsEveryRequest) {
  auto harness = std::make_unique<EngineHarness>();
  RecordingSink running, waiting;
  ASSERT_TRUE(harness->engine().Submit(harness->Request("a", 10, 50), &running).ok());
  harness->engine().Step();
  ASSERT_TRUE(harness->engine().Submit(harness->Request("b", 10, 50), &waiting).ok());
  harness.reset();
  EXPECT_EQ(running.finish()->reason, FinishReason::kShutdown);
  EXPECT_EQ(waiting.finish()->reason, FinishReason::kShutdown);
}

TEST(EngineLifecycle, DeadlineEndsARunningSequenceAtTheNextStep) {
  EngineHarness harness;
  GenerationRequest request = harness.Request("a", 10, 50);
  request.deadline = harness.clock().Now() + absl::Seconds(2);
  RecordingSink& sink = harness.Submit(request);
  RecordingSink& other = harness.Submit(harness.Request("b", 10, 50));
  EXPECT_EQ(harness.engine().NextWakeup(), request.deadline);
  for (int i = 0; i < 3; ++i) harness.engine().Step();
  EXPECT_FALSE(sink.finished());
  harness.clock().Advance(absl::Seconds(2));
  harness.engine().Step();
  ASSERT_TRUE(sink.finished());
  EXPECT_EQ(sink.finish()->reason, FinishReason::kDeadline);
  EXPECT_EQ(sink.finish()->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(sink.finish()->status.message().find("after 2s with 3 of at most 50 tokens"), absl::string_view::npos)
      << sink.finish()->status;
  EXPECT_EQ(sink.finish()->generated_tokens, 3);
  EXPECT_EQ(harness.engine().NextWakeup(), absl::InfiniteFuture());
  harness.RunUntilIdle();
  EXPECT_EQ(other.finish()->reason, FinishReason::kLength);
  ExpectNothingHeld(harness.engine());
}

TEST(EngineLifecycle, DeadlineEndsAQueuedRequest) {
  HarnessOptions options;
  options.engine.max_running_requests = 1;
  EngineHarness harness(std::move(options));
  harness.Submit(harness.Request("long", 10, 1000));
  GenerationRequest request = harness.Request("queued", 10, 5);
  request.deadline = harness.clock().Now() + absl::Milliseconds(1500);
  RecordingSink& sink = harness.Submit(request);
  harness.engine().Step();
  harness.clock().Advance(absl::Milliseconds(1500));
  harness.engine().Step();
  ASSERT_TRUE(sink.finished());
  EXPECT_EQ(sink.finish()->reason, FinishReason::kDeadline);
  EXPECT_NE(sink.finish()->status.message().find("1.5s in the queue"), absl::string_view::npos)
      << sink.finish()->status;
  EXPECT_EQ(sink.finish()->queue_time, absl::Milliseconds(1500));
  EXPECT_EQ(sink.finish()->time_to_first_token, absl::ZeroDuration());
  EXPECT_EQ(harness.engine().stats().requests_waiting, 0);
}

TEST(EngineLifecycle, ADeadlineThatPassedBeforeSubmitEndsTheRequestWithoutAStepOfTheModel) {
  EngineHarness harness;
  GenerationRequest request = harness.Request("late", 10, 5);
  request.deadline = harness.clock().Now() - absl::Seconds(1);
  RecordingSink& sink = harness.Submit(request);
  EXPECT_FALSE(harness.engine().Step());
  EXPECT_EQ(sink.finish()->reason, FinishReason::kDeadline);
  EXPECT_EQ(harness.model().num_forwards(), 0);
}

TEST(EngineLifecycle, AFullReaderIsPausedKeepsItsPagesAndStallsNobody) {
  EngineHarness harness;
  const GenerationRequest request = harness.Request("slow", 20, 12);
  RecordingSink& slow = harness.Submit(request, /*capacity=*/4);
  RecordingSink& other = harness.Submit(harness.Request("other", 20, 30));
  harness.RunUntilIdle();
  EXPECT_TRUE(other.finished());
  EXPECT_EQ(slow.num_deltas(), 4);
  EXPECT_GT(harness.engine().stats().kv_used_bytes, 0);
  EXPECT_FALSE(harness.engine().Step());  // nothing to run: everything is paused
  EXPECT_EQ(harness.engine().NextWakeup(), harness.clock().Now() + absl::Seconds(30));

  slow.Drain();
  harness.engine().Resume("slow");
  EXPECT_EQ(harness.engine().NextWakeup(), absl::InfiniteFuture());
  harness.RunUntilIdle();
  EXPECT_EQ(slow.num_deltas(), 8);
  slow.Drain();
  harness.engine().Resume("slow");
  harness.engine().Resume("slow");     // harmless twice
  harness.engine().Resume("unknown");  // and for nobody
  harness.RunUntilIdle();
  EXPECT_EQ(slow.token_ids(), harness.ExpectedGreedy(request));
  EXPECT_EQ(slow.finish()->reason, FinishReason::kLength);
  ExpectNothingHeld(harness.engine());
}

TEST(EngineLifecycle, AReaderThatNeverReadsIsEndedAfterTheTimeout) {
  EngineHarness harness;
  RecordingSink& sink = harness.Submit(harness.Request("a", 20, 12), /*capacity=*/4);
  harness.RunUntilIdle();
  harness.clock().Advance(absl::Seconds(29));
  EXPECT_FALSE(harness.engine().Step());
  EXPECT_FALSE(sink.finished());
  harness.clock().Advance(absl::Seconds(1));
  EXPECT_FALSE(harness.engine().Step());
  ASSERT_TRUE(sink.finished());
  EXPECT_EQ(sink.finish()->reason, FinishReason::kSlowReader);
  EXPECT_EQ(sink.finish()->status.code(), absl::StatusCode::kResourceExhausted);
  ExpectNothingHeld(harness.engine());
}

TEST(EngineLifecycle, AFailedStepEndsItsSequencesAndTheEngineGoesOn) {
  EngineHarness harness;
  RecordingSink& paused = harness.Submit(harness.Request("paused", 20, 12), /*capacity=*/2);
  harness.RunUntilIdle();
  RecordingSink& a = harness.Submit(harness.Request("a", 20, 12));
  RecordingSink& b = harness.Submit(harness.Request("b", 20, 12));
  harness.engine().Step();
  harness.model().FailNextForward(absl::InternalError("kernel fault"));
  EXPECT_TRUE(harness.engine().Step());
  harness.engine().CheckInvariants();
  for (RecordingSink* sink : {&a, &b}) {
    ASSERT_TRUE(sink->finished());
    EXPECT_EQ(sink->finish()->reason, FinishReason::kError);
    EXPECT_EQ(sink->finish()->status.code(), absl::StatusCode::kInternal);
    EXPECT_NE(sink->finish()->status.message().find("kernel fault"), absl::string_view::npos);
  }
  RecordingSink& c = harness.Submit(harness.Request("c", 20, 12));
  paused.Drain();
  harness.engine().Resume("paused");
  harness.RunUntilIdle();
  EXPECT_EQ(c.finish()->reason, FinishReason::kLength);
  EXPECT_FALSE(paused.finished());  // full again after two more
  EXPECT_EQ(paused.num_deltas(), 4);
  EXPECT_EQ(Finished(harness.engine(), FinishReason::kError), 2);
}

TEST(EngineLifecycle, TimesAreMeasuredOnTheClock) {
  HarnessOptions options;
  options.engine.max_running_requests = 1;
  EngineHarness harness(std::move(options));
  harness.model().on_forward = [&](const ForwardBatch&) { harness.clock().Advance(absl::Milliseconds(10)); };
  harness.Submit(harness.Request("first", 10, 3));
  RecordingSink& sink = harness.Submit(harness.Request("second", 10, 5));
  harness.RunUntilIdle();
  const FinishInfo finish = *sink.finish();
  EXPECT_EQ(finish.queue_time, absl::Milliseconds(30));
  EXPECT_EQ(finish.time_to_first_token, absl::Milliseconds(40));
  EXPECT_EQ(finish.total_time, absl::Milliseconds(80));

  const EngineStats& stats = harness.engine().stats();
  const auto count = [](const HistogramData& h) {
    return std::accumulate(h.counts.begin(), h.counts.end(), int64_t{0});
  };
  EXPECT_EQ(count(stats.time_to_first_token), 2);
  EXPECT_NEAR(stats.time_to_first_token.sum, 0.01 + 0.04, 1e-9);
  EXPECT_EQ(count(stats.inter_token_latency), 2 + 4);
  EXPECT_NEAR(stats.inter_token_latency.sum, 6 * 0.01, 1e-9);
  EXPECT_EQ(count(stats.time_per_output_token), 2);
  EXPECT_NEAR(stats.time_per_output_token.sum, 2 * 0.01, 1e-9);
  EXPECT_NEAR(stats.request_seconds.sum, 0.03 + 0.08, 1e-9);
  EXPECT_NEAR(stats.queue_seconds.sum, 0.03, 1e-9);
  EXPECT_EQ(count(stats.step_seconds), 8);
  EXPECT_EQ(stats.steps, 8);
  EXPECT_EQ(stats.step_tokens.sum, 20 + 2 + 4);
  EXPECT_EQ(stats.prompt_tokens, 20);
  EXPECT_EQ(stats.generated_tokens, 8);
  EXPECT_EQ(stats.published, harness.clock().Now());
}

TEST(EngineLifecycle, KvAccountingAddsUp) {
  EngineHarness harness;
  const KvCacheSpec& spec = harness.spec();
  RecordingSink& sink = harness.Submit(harness.Request("a", 200, 101));
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(harness.engine().Step());
  {
    const EngineStats& stats = harness.engine().stats();
    EXPECT_GT(stats.kv_waste_bytes, 0);
    EXPECT_LE(stats.kv_used_bytes, stats.kv_reserved_bytes);
    EXPECT_LE(stats.kv_reserved_bytes, stats.kv_budget_bytes);
    int64_t stored = 0;
    for (int e = 0; e < 3; ++e) stored += stats.kv_token_layers[e] * spec.bytes_per_token_layer(e);
    EXPECT_EQ(stats.kv_used_bytes - stats.kv_waste_bytes, stored);
    EXPECT_NEAR(stats.realised_kv_fraction, 0.5, 0.05);
    EXPECT_DOUBLE_EQ(stats.requested_kv_fraction, 0.5);
  }
  harness.RunUntilIdle();
  const KvAccounting kv = sink.finish()->kv;
  const int64_t cached = 200 + 101 - 1;
  EXPECT_EQ(kv.full_kv_bytes, cached * spec.bytes_per_token(0));
  ASSERT_EQ(kv.prompt_tokens_per_expert.size(), 3u);
  EXPECT_NEAR(kv.prompt_tokens_per_expert[0], 60, 1);
  EXPECT_NEAR(kv.prompt_tokens_per_expert[1], 20, 1);
  EXPECT_NEAR(kv.prompt_tokens_per_expert[2], 120, 1);
  double prompt = 0, generated = 0, stored = 0;
  for (int e = 0; e < 3; ++e) {
    prompt += kv.prompt_tokens_per_expert[e];
    generated += kv.generated_tokens_per_expert[e];
    stored += (kv.prompt_tokens_per_expert[e] + kv.generated_tokens_per_expert[e]) * spec.bytes_per_token(e);
  }
  EXPECT_DOUBLE_EQ(prompt, 200);
  EXPECT_DOUBLE_EQ(generated, 100);
  EXPECT_DOUBLE_EQ(stored, static_cast<double>(kv.stored_kv_bytes));
  EXPECT_GE(kv.peak_kv_bytes, kv.stored_kv_bytes);
  // Nothing but the tails is wasted: less than a page for each layer and expert.
  EXPECT_LT(kv.peak_kv_bytes - kv.stored_kv_bytes, spec.num_layers() * spec.num_experts() * spec.page_bytes());
  EXPECT_EQ(kv.ratio_epochs, std::vector<int64_t>{1});
  EXPECT_EQ(kv.tokens_regrouped, 0);

  const EngineStats& stats = harness.engine().stats();
  for (int e = 0; e < 3; ++e) {
    EXPECT_DOUBLE_EQ(static_cast<double>(stats.routed_token_layers[e][0]),
                     kv.prompt_tokens_per_expert[e] * spec.num_layers());
    EXPECT_DOUBLE_EQ(static_cast<double>(stats.routed_token_layers[e][1]),
                     kv.generated_tokens_per_expert[e] * spec.num_layers());
  }
  EXPECT_DOUBLE_EQ(stats.realised_kv_fraction, 0.5);  // empty: the requested one
}

}  // namespace
}  // namespace ration
