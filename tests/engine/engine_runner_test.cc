// The engine behind its mailbox: many threads in, one engine thread, nothing lost, nothing raced (run with
// --config=tsan).
#include "engine/engine_runner.h"

#include <atomic>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/retry_hint.h"
#include "tests/engine/engine_harness.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::HarnessOptions;
using testing::RecordingSink;

struct Running {
  explicit Running(HarnessOptions options = {}, EngineRunner::Options runner_options = {})
      : harness(std::move(options)), runner(std::make_unique<EngineRunner>(runner_options, harness.TakeEngine())) {}
  std::shared_ptr<RecordingSink> Submit(GenerationRequest request, int64_t capacity = 1 << 30) {
    auto sink = std::make_shared<RecordingSink>(capacity);
    runner->Submit(std::move(request), sink, [](absl::Status status) { ADD_FAILURE() << status; });
    return sink;
  }
  EngineHarness harness;
  std::unique_ptr<EngineRunner> runner;
};

const absl::Time Soon() { return absl::Now() + absl::Seconds(60); }

TEST(EngineRunner, RunsWhatIsSubmittedAndGoesIdle) {
  Running running;
  const GenerationRequest request = running.harness.Request("a", 30, 20);
  const auto sink = running.Submit(request);
  ASSERT_TRUE(sink->WaitForFinish());
  EXPECT_EQ(sink->token_ids(), running.harness.ExpectedGreedy(request));
  ASSERT_TRUE(running.runner->WaitUntilIdle(Soon()));
  const EngineStats stats = running.runner->Stats();
  EXPECT_EQ(stats.generated_tokens, 20);
  EXPECT_EQ(stats.kv_used_bytes, 0);
  EXPECT_EQ(stats.requests_running, 0);
  EXPECT_EQ(sink.use_count(), 1) << "the runner must let go of a finished stream";
}

TEST(EngineRunner, ARefusedRequestIsToldWhy) {
  Running running;
  GenerationRequest request = running.harness.Request("a", 30, 20);
  request.sampling.top_p = 2;
  auto sink = std::make_shared<RecordingSink>();
  std::atomic<bool> told{false};
  absl::Status why;
  running.runner->Submit(request, sink, [&](absl::Status status) {
    why = std::move(status);
    told.store(true);
  });
  ASSERT_TRUE(running.runner->WaitUntilIdle(Soon()));
  ASSERT_TRUE(told.load());
  EXPECT_EQ(why.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sink->num_deltas(), 0);
}

TEST(EngineRunner, ADuplicateIdDoesNotDisturbTheFirst) {
  Running running;
  const GenerationRequest request = running.harness.Request("a", 30, 2);
  // Full after its first piece, it waits to be resumed, which comes to the engine behind the duplicate.
  const auto first = running.Submit(request, /*capacity=*/1);
  ASSERT_TRUE(first->WaitForDeltas(1));
  auto second = std::make_shared<RecordingSink>();
  std::atomic<int> code{0};
  running.runner->Submit(request, second, [&](absl::Status status) { code.store(static_cast<int>(status.code())); });
  first->Drain();
  running.runner->Resume("a");
  ASSERT_TRUE(first->WaitForFinish());
  ASSERT_TRUE(running.runner->WaitUntilIdle(Soon()));
  EXPECT_EQ(code.load(), static_cast<int>(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(first->finish()->reason, FinishReason::kLength);
}

TEST(EngineRunner, TicketsCountLiveRequests) {
  EngineRunner::Options options;
  options.max_live_requests = 2;
  Running running({}, options);
  auto a = running.runner->Admit();
  auto b = running.runner->Admit();
  ASSERT_TRUE(a.ok() && b.ok());
  const absl::Status full = running.runner->Admit().status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryHint(full).has_value());
  a->reset();
  auto c = running.runner->Admit();
  EXPECT_TRUE(c.ok());
  running.runner->StartDrain();
  EXPECT_EQ(running.runner->Admit().status().code(), absl::StatusCode::kUnavailable);
  // A ticket alone keeps the server from being idle: its request may not have reached the engine yet.
  EXPECT_FALSE(running.runner->WaitUntilIdle(absl::Now() + absl::Milliseconds(20)));
  b->reset();
  c->reset();
  EXPECT_TRUE(running.runner->WaitUntilIdle(Soon()));
  // The next snapshot has the refusals.
  const auto rejected = [&](RejectReason reason) {
    return running.runner->Stats().rejections[static_cast<size_t>(reason)];
  };
  ASSERT_TRUE(running.Submit(running.harness.Request("after", 3, 1))->WaitForFinish());
  ASSERT_TRUE(running.runner->WaitUntilIdle(Soon()));
  EXPECT_EQ(rejected(RejectReason::kQueueFull), 1);
  EXPECT_EQ(rejected(RejectReason::kDraining), 1);
}

TEST(EngineRunner, DrainingLetsRunningRequestsFinish) {
  Running running;
  const GenerationRequest request = running.harness.Request("a", 30, 500);
  auto ticket = running.runner->Admit();
  const auto sink = running.Submit(request);
  running.runner->StartDrain();
  ASSERT_TRUE(sink->WaitForFinish());
  ticket->reset();
  EXPECT_TRUE(running.runner->WaitUntilIdle(Soon()));
  EXPECT_EQ(sink->finish()->reason, FinishReason::kLength);
}

TEST(EngineRunner, WaitUntilIdleGivesUpAtItsDeadline) {
  Running running;
  const auto sink = running.Submit(running.harness.Request("a", 30, 50), /*capacity=*/1);
  ASSERT_TRUE(sink->WaitForDeltas(1));
  EXPECT_FALSE(running.runner->WaitUntilIdle(absl::Now() + absl::Milliseconds(20)));
}

TEST(EngineRunner, DestructionEndsEverythingWithShutdown) {
  HarnessOptions options;
  options.engine.max_running_requests = 2;
  Running running(std::move(options));
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 10; ++i)
    sinks.push_back(running.Submit(running.harness.Request(absl::StrCat("r", i), 5, 50), /*capacity=*/3));
  running.runner.reset();
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->finished());
    EXPECT_EQ(sink->finish()->reason, FinishReason::kShutdown);
    EXPECT_EQ(sink.use_count(), 1);
  }
}

TEST(EngineRunner, AbortAndResumeReachTheEngine) {
  Running running;
  const auto slow = running.Submit(running.harness.Request("slow", 30, 10), /*capacity=*/4);
  const auto gone = running.Submit(running.harness.Request("gone", 30, 10), /*capacity=*/4);
  ASSERT_TRUE(slow->WaitForDeltas(4));
  ASSERT_TRUE(gone->WaitForDeltas(4));
  running.runner->Abort("gone");
  running.runner->Abort("nobody");
  ASSERT_TRUE(gone->WaitForFinish());
  EXPECT_EQ(gone->finish()->reason, FinishReason::kAborted);
  slow->Drain();
  running.runner->Resume("slow");
  ASSERT_TRUE(slow->WaitForDeltas(8));
  slow->Drain();
  running.runner->Resume("slow");
  ASSERT_TRUE(slow->WaitForFinish());
  EXPECT_EQ(slow->finish()->generated_tokens, 10);
}

TEST(EngineRunner, AnIdleEngineNoticesADeadlineAndKeepsItsSnapshotFresh) {
  Running running;
  GenerationRequest request = running.harness.Request("a", 30, 50);
  request.deadline = running.harness.clock().Now() + absl::Seconds(10);
  const auto sink = running.Submit(request, /*capacity=*/2);
  ASSERT_TRUE(sink->WaitForDeltas(2));  // paused from here on: the engine has nothing to run
  running.harness.clock().Advance(absl::Seconds(10));
  ASSERT_TRUE(sink->WaitForFinish());
  EXPECT_EQ(sink->finish()->reason, FinishReason::kDeadline);
  ASSERT_TRUE(running.runner->WaitUntilIdle(Soon()));
  EXPECT_EQ(running.runner->Stats().published, running.harness.clock().Now());
}

TEST(EngineRunner, TenantsAreSetThroughTheMailbox) {
  Running running;
  const auto set = [&](std::vector<TenantQuota> quotas) {
    std::promise<absl::Status> done;
    running.runner->SetTenants(std::move(quotas), [&done](absl::Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  };
  TenantQuota quota;
  quota.tenant = "a";
  ASSERT_TRUE(set({quota}).ok());
  ASSERT_EQ(running.runner->Stats().tenants.size(), 2u);
  EXPECT_EQ(running.runner->Stats().tenants[1].tenant, "a");
  quota.weight = 0;
  EXPECT_EQ(set({quota}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(running.runner->Stats().tenants[1].weight, 1);
  running.runner->SetTenants({}, nullptr);
  ASSERT_TRUE(set({}).ok());
  EXPECT_TRUE(running.runner->Stats().tenants.empty());
}

TEST(EngineRunner, ManyThreadsSubmitAbortAndResume) {
  HarnessOptions options;
  options.engine.max_running_requests = 16;
  options.engine.max_batched_tokens = 64;
  Running running(std::move(options));
  constexpr int kThreads = 4, kPerThread = 40;
  std::vector<std::vector<std::shared_ptr<RecordingSink>>> sinks(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kPerThread; ++i) {
        const std::string id = absl::StrCat(t, "/", i);
        auto ticket = running.runner->Admit();
        ASSERT_TRUE(ticket.ok());
        sinks[t].push_back(
            running.Submit(running.harness.Request(id, 1 + i % 50, 1 + i % 20), i % 3 == 0 ? 4 : 1 << 30));
        if (i % 5 == 0) running.runner->Abort(id);
        if (i % 3 == 0) {
          while (!sinks[t].back()->finished()) {
            sinks[t].back()->Drain();
            running.runner->Resume(id);
            (void)running.runner->Stats();
            (void)sinks[t].back()->WaitForFinish(absl::Milliseconds(2));
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(running.runner->WaitUntilIdle(Soon()));
  int64_t finished = 0;
  for (const auto& of_thread : sinks) {
    for (const auto& sink : of_thread) finished += sink->finished();
  }
  EXPECT_EQ(finished, kThreads * kPerThread);
  const EngineStats stats = running.runner->Stats();
  EXPECT_EQ(stats.kv_used_bytes, 0);
  EXPECT_EQ(stats.kv_reserved_bytes, 0);
  EXPECT_EQ(stats.requests_running + stats.requests_waiting, 0);
}

}  // namespace
}  // namespace ration
