// Attacks the engine's promises with random schedules: requests come, are cancelled, time out, pause, and the model
// fails, while the router is made to prefer whatever costs most. After every step the invariants are recomputed from
// scratch:
//   used <= reserved <= budget; every page free or in exactly one page table; every token cached once in every layer;
//   every accepted request ends exactly once; what a request generated is what it generates alone; at the end nothing
//   is held.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

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

#ifdef RATION_SANITIZER
constexpr int kStepsPerCase = 1000;
#else
constexpr int kStepsPerCase = 4000;
#endif

using Case = std::tuple<std::string, FakeModel::Scores, DecodeRule>;

class EngineProperty : public ::testing::TestWithParam<Case> {};

struct LiveRequest {
  std::string id;
  std::vector<int32_t> expected;
  std::unique_ptr<RecordingSink> sink;
};

TEST_P(EngineProperty, NoScheduleBreaksAnInvariant) {
  const auto& [ratio, scores, rule] = GetParam();
  std::mt19937 random(static_cast<uint32_t>(std::hash<std::string>()(ratio) ^ (static_cast<uint32_t>(scores) * 7919u) ^
                                            (rule == DecodeRule::kArgmax ? 104729u : 0u)));
  HarnessOptions options;
  options.ratio = ratio;
  options.rule = rule;
  options.page_bytes = 1024;  // 4 slots a page at the largest expert
  options.model.scores = scores;
  options.model.max_positions = 512;
  options.engine.num_pages = 300;
  options.engine.max_batched_tokens = 40;
  options.engine.max_running_requests = 12;
  options.engine.policy.max_queued_requests = 20;
  options.engine.max_overtakes = 6;
  options.engine.slow_reader_timeout = absl::Seconds(5);
  options.engine.eos_token_ids = {7};
  EngineHarness harness(std::move(options));
  Engine& engine = harness.engine();
  std::vector<LiveRequest> live;
  int64_t accepted = 0, refused = 0, ended = 0, checked = 0, next = 0, most_used = 0;

  const auto submit = [&] {
    const int64_t prompt = random() % 8 == 0 ? 1 + random() % 300 : 1 + random() % 40;
    GenerationRequest request =
        harness.Request(absl::StrCat("r", next++), prompt, 1 + random() % (random() % 6 == 0 ? 150 : 30));
    if (random() % 5 == 0) request.deadline = harness.clock().Now() + absl::Milliseconds(random() % 3000);
    if (random() % 3 == 0) request.stopping.ignore_eos = true;
    LiveRequest entry;
    entry.id = request.request_id;
    entry.expected = harness.ExpectedGreedy(request);
    auto sink = std::make_unique<RecordingSink>(random() % 4 == 0 ? 1 + random() % 5 : 1 << 20);
    const absl::Status status = engine.Submit(request, sink.get());
    if (!status.ok()) {
      ++refused;
      ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      ASSERT_EQ(sink->num_deltas(), 0);
      return;
    }
    ++accepted;
    entry.sink = std::move(sink);
    live.push_back(std::move(entry));
  };
  const auto collect = [&] {
    for (size_t i = 0; i < live.size();) {
      if (!live[i].sink->finished()) {
        ++i;
        continue;
      }
      ++ended;
      const std::vector<int32_t> tokens = live[i].sink->token_ids();
      ASSERT_LE(tokens.size(), live[i].expected.size());
      ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), live[i].expected.begin())) << live[i].id;
      const FinishInfo finish = *live[i].sink->finish();
      if (finish.reason == FinishReason::kLength) {
        ASSERT_EQ(tokens.size(), live[i].expected.size());
        ++checked;
      } else if (finish.reason == FinishReason::kStop) {
        ASSERT_EQ(tokens.back(), 7);
      }
      live.erase(live.begin() + i);
    }
  };

  for (int step = 0; step < kStepsPerCase; ++step) {
    switch (random() % 12) {
      case 0:
      case 1:
      case 2:
        submit();
        break;
      case 3:
        for (int burst = 0; burst < 5 && random() % 4 == 0; ++burst) submit();
        break;
      case 4:
        if (!live.empty()) engine.Abort(live[random() % live.size()].id);
        break;
      case 5:
      case 6:
        if (!live.empty()) {
          const LiveRequest& entry = live[random() % live.size()];
          entry.sink->Drain();
          engine.Resume(entry.id);
        }
        break;
      case 7:
        harness.clock().Advance(absl::Milliseconds(random() % 400));
        break;
      case 8:
        if (random() % 40 == 0) harness.model().FailNextForward(absl::InternalError("made to fail"));
        break;
      default:
        break;
    }
    ASSERT_FALSE(HasFatalFailure());
    engine.Step();
    engine.CheckInvariants();
    const EngineStats& stats = engine.stats();
    ASSERT_LE(stats.kv_used_bytes, stats.kv_reserved_bytes);
    ASSERT_LE(stats.kv_reserved_bytes, stats.kv_budget_bytes);
    most_used = std::max(most_used, stats.kv_used_bytes);
    collect();
    ASSERT_FALSE(HasFatalFailure());
  }
  // Everyone reads again and the rest runs out.
  for (int round = 0; engine.HasRequests(); ++round) {
    ASSERT_LT(round, 100000) << "requests are stuck";
    for (const LiveRequest& entry : live) {
      entry.sink->Drain();
      engine.Resume(entry.id);
    }
    engine.Step();
    engine.CheckInvariants();
    collect();
    ASSERT_FALSE(HasFatalFailure());
  }
  EXPECT_TRUE(live.empty());
  EXPECT_EQ(accepted, ended);
  EXPECT_EQ(engine.stats().kv_used_bytes, 0);
  EXPECT_EQ(engine.stats().kv_reserved_bytes, 0);
  EXPECT_EQ(engine.NextWakeup(), absl::InfiniteFuture());
  int64_t finished = 0;
  for (int64_t count : engine.stats().requests_finished) finished += count;
  EXPECT_EQ(finished, accepted);
  // The test must have attacked something: full pools, refusals, every way to end.
  EXPECT_GT(accepted, kStepsPerCase / 10);
  EXPECT_GT(checked, kStepsPerCase / 100);
  EXPECT_GT(most_used, engine.stats().kv_budget_bytes / 3);
  for (FinishReason outcome :
       {FinishReason::kStop, FinishReason::kLength, FinishReason::kAborted, FinishReason::kDeadline}) {
    EXPECT_GT(engine.stats().requests_finished[static_cast<size_t>(outcome)], 0) << static_cast<int>(outcome);
  }
}

INSTANTIATE_TEST_SUITE_P(RatiosAndAdversaries, EngineProperty,
                         ::testing::Values(Case{"3:1:6", FakeModel::Scores::kRandom, DecodeRule::kThreshold},
                                           Case{"3:1:6", FakeModel::Scores::kFirst, DecodeRule::kThreshold},
                                           Case{"3:1:6", FakeModel::Scores::kBursts, DecodeRule::kThreshold},
                                           Case{"3:1:6", FakeModel::Scores::kLast, DecodeRule::kThreshold},
                                           Case{"3:1:6", FakeModel::Scores::kFirst, DecodeRule::kArgmax},
                                           Case{"0:0:1", FakeModel::Scores::kFirst, DecodeRule::kArgmax},
                                           Case{"0:1:0", FakeModel::Scores::kRandom, DecodeRule::kThreshold},
                                           Case{"1:0:0", FakeModel::Scores::kRandom, DecodeRule::kThreshold},
                                           Case{"0:0:1", FakeModel::Scores::kFirst, DecodeRule::kThreshold},
                                           Case{"5:3:2", FakeModel::Scores::kBursts, DecodeRule::kThreshold},
                                           Case{"1:0:9", FakeModel::Scores::kFirst, DecodeRule::kThreshold}),
                         [](const auto& info) { return absl::StrCat("Case", info.index); });

}  // namespace
}  // namespace ration
