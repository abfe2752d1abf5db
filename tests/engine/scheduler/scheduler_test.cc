#include "engine/scheduler/scheduler.h"

#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace ration {
namespace {

using Place = SchedulableSequence::Place;

class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() {
    options_.routing_window = 16;
    options_.max_batched_tokens = 40;
    options_.max_running_requests = 8;
    options_.max_queued_requests = 100;
    options_.max_overtakes = 4;
  }
  ~SchedulerTest() override {
    for (auto& sequence : sequences_) scheduler_->Remove(sequence.get());
  }
  void Start(int64_t num_pages = 1000) {
    KvCacheSpec::Options spec;
    spec.num_layers = 1;
    spec.num_kv_heads = 1;
    spec.head_dim = 16;
    cache_ = std::make_unique<KvCacheManager>(*KvCacheSpec::Create(spec), num_pages);
    budget_ = std::make_unique<KvBudget>(num_pages);
    scheduler_ = *Scheduler::Create(options_, cache_.get(), budget_.get());
  }
  SchedulableSequence* Add(int64_t prompt_tokens, int64_t pages = 1) {
    sequences_.push_back(std::make_unique<SchedulableSequence>());
    sequences_.back()->prefill_tokens = prompt_tokens;
    sequences_.back()->reserved_pages = pages;
    EXPECT_TRUE(scheduler_->Enqueue(sequences_.back().get()));
    return sequences_.back().get();
  }
  // One step, with what the engine does after it.
  const SchedulerOutput& Step() {
    scheduler_->ClearAdmitted();
    scheduler_->Admit([](const SchedulableSequence&) { return true; });
    const SchedulerOutput& plan = scheduler_->Plan();
    int64_t tokens = 0;
    for (const ScheduledSequence& scheduled : plan.sequences) {
      EXPECT_EQ(scheduled.prefill, scheduled.sequence->in_prefill());
      scheduled.sequence->computed_tokens += scheduled.num_tokens;
      tokens += scheduled.num_tokens;
    }
    EXPECT_EQ(tokens, plan.num_tokens);
    EXPECT_LE(tokens, options_.max_batched_tokens);
    scheduler_->CheckInvariants();
    return plan;
  }

  Scheduler::Options options_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<KvBudget> budget_;
  std::vector<std::unique_ptr<SchedulableSequence>> sequences_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, AnEmptySchedulePlansNothing) {
  Start();
  EXPECT_TRUE(Step().sequences.empty());
  EXPECT_EQ(Step().num_tokens, 0);
}

TEST_F(SchedulerTest, PromptsEnterInWholeWindowsOldestFirst) {
  Start();
  SchedulableSequence* a = Add(50);
  SchedulableSequence* b = Add(70);
  const SchedulerOutput& first = Step();
  ASSERT_EQ(first.admitted.size(), 2u);
  ASSERT_EQ(first.sequences.size(), 1u);  // 32 of 40 to the first; no whole window is left for the second
  EXPECT_EQ(first.sequences[0].sequence, a);
  EXPECT_EQ(first.sequences[0].num_tokens, 32);
  const SchedulerOutput& second = Step();
  ASSERT_EQ(second.sequences.size(), 2u);
  EXPECT_EQ(second.sequences[0].num_tokens, 18);  // ends the prompt
  EXPECT_EQ(second.sequences[1].sequence, b);
  EXPECT_EQ(second.sequences[1].num_tokens, 16);
  const SchedulerOutput& third = Step();
  ASSERT_EQ(third.sequences.size(), 2u);
  EXPECT_FALSE(third.sequences[0].prefill);
  EXPECT_EQ(third.sequences[0].num_tokens, 1);
  EXPECT_EQ(third.sequences[1].num_tokens, 32);
  EXPECT_TRUE(third.admitted.empty());
}

TEST_F(SchedulerTest, AShortPromptFillsWhatIsTooLittleForAWindow) {
  Start();
  Add(100);
  SchedulableSequence* shorter = Add(8);
  const SchedulerOutput& plan = Step();
  ASSERT_EQ(plan.sequences.size(), 2u);
  EXPECT_EQ(plan.sequences[0].num_tokens, 32);
  EXPECT_EQ(plan.sequences[1].sequence, shorter);
  EXPECT_EQ(plan.sequences[1].num_tokens, 8);
  EXPECT_EQ(plan.num_tokens, 40);
}

TEST_F(SchedulerTest, EveryDecodingSequenceRunsInEveryStepAndAPromptStillGoesOn) {
  options_.max_batched_tokens = 16 + 8;  // the least that is allowed
  Start();
  for (int i = 0; i < 7; ++i) Add(1);
  Step();
  SchedulableSequence* late = Add(100);
  for (int step = 0; step < 6; ++step) {
    const SchedulerOutput& plan = Step();
    ASSERT_EQ(plan.sequences.size(), 8u);
    for (int i = 0; i < 7; ++i) EXPECT_EQ(plan.sequences[i].num_tokens, 1);
    EXPECT_EQ(plan.sequences[7].sequence, late);
    EXPECT_EQ(plan.sequences[7].num_tokens, 16);
  }
}

TEST_F(SchedulerTest, PausedSequencesKeepTheirPagesAndGetNoTokens) {
  Start();
  SchedulableSequence* a = Add(10);
  SchedulableSequence* b = Add(10);
  Step();
  a->paused = true;
  const SchedulerOutput& plan = Step();
  ASSERT_EQ(plan.sequences.size(), 1u);
  EXPECT_EQ(plan.sequences[0].sequence, b);
  EXPECT_NE(a->kv, nullptr);
  a->paused = false;
  EXPECT_EQ(Step().sequences.size(), 2u);
}

TEST_F(SchedulerTest, AdmissionTakesTheReservationAndWaitsForIt) {
  Start(/*num_pages=*/10);
  SchedulableSequence* a = Add(5, 6);
  SchedulableSequence* b = Add(5, 5);
  Step();
  EXPECT_EQ(a->place, Place::kRunning);
  EXPECT_EQ(a->reservation->pages(), 6);
  EXPECT_EQ(b->place, Place::kWaiting);
  EXPECT_EQ(budget_->reserved_pages(), 6);
  Step();
  EXPECT_EQ(b->place, Place::kWaiting);
  scheduler_->Remove(a);
  EXPECT_EQ(a->kv, nullptr);
  EXPECT_EQ(budget_->reserved_pages(), 0);
  const SchedulerOutput& plan = Step();
  ASSERT_EQ(plan.admitted.size(), 1u);
  EXPECT_EQ(plan.admitted[0], b);
}

TEST_F(SchedulerTest, ASmallerRequestPassesOneThatWaitsForPagesButNotForEver) {
  Start(/*num_pages=*/10);
  SchedulableSequence* running = Add(5, 5);
  Step();
  SchedulableSequence* large = Add(5, 8);
  for (int i = 0; i < 4; ++i) {
    SchedulableSequence* small = Add(5, 2);
    Step();
    EXPECT_EQ(small->place, Place::kRunning);
    scheduler_->Remove(small);
  }
  SchedulableSequence* late = Add(5, 2);
  Step();
  EXPECT_EQ(late->place, Place::kWaiting);  // the large one was passed four times: no more
  scheduler_->Remove(running);
  Step();
  EXPECT_EQ(large->place, Place::kRunning);
  EXPECT_EQ(late->place, Place::kRunning);
}

TEST_F(SchedulerTest, RemovingWhatNothingMayPassLetsTheRestIn) {
  options_.max_overtakes = 0;
  Start(/*num_pages=*/10);
  Add(5, 5);
  SchedulableSequence* large = Add(5, 8);
  SchedulableSequence* small = Add(5, 2);
  Step();
  EXPECT_EQ(small->place, Place::kWaiting);
  scheduler_->Remove(large);
  Step();
  EXPECT_EQ(small->place, Place::kRunning);
}

TEST_F(SchedulerTest, APreemptedSequenceGoesBackToItsPlaceAndStartsAnew) {
  Start(/*num_pages=*/10);
  SchedulableSequence* a = Add(5, 6);
  SchedulableSequence* b = Add(5, 4);
  SchedulableSequence* c = Add(5, 4);
  Step();
  Step();
  EXPECT_EQ(b->computed_tokens, 6);
  b->prefill_tokens = 7;  // its prompt and the two tokens it chose
  scheduler_->Preempt(b);
  EXPECT_EQ(b->place, Place::kWaiting);
  EXPECT_EQ(b->kv, nullptr);
  EXPECT_EQ(budget_->reserved_pages(), 6);
  EXPECT_EQ(scheduler_->queue().waiting_tokens(), 7 + 5);
  const SchedulerOutput& plan = Step();
  ASSERT_EQ(plan.admitted.size(), 1u);  // before c, which came later
  EXPECT_EQ(plan.admitted[0], b);
  EXPECT_EQ(plan.sequences.back().num_tokens, 7);
  EXPECT_TRUE(plan.sequences.back().prefill);
  EXPECT_EQ(c->place, Place::kWaiting);
  EXPECT_EQ(a->place, Place::kRunning);
}

TEST_F(SchedulerTest, AStepEndsWhereRecomputingDoes) {
  Start();
  SchedulableSequence* a = Add(11);
  a->recompute_tokens = 8;
  EXPECT_EQ(Step().sequences.back().num_tokens, 8);
  EXPECT_EQ(a->computed_tokens, 8);
  const SchedulerOutput& plan = Step();
  EXPECT_EQ(plan.sequences.back().num_tokens, 3);
  EXPECT_TRUE(plan.sequences.back().prefill);
}

TEST_F(SchedulerTest, WhatTheCallerDoesNotLetInWaits) {
  Start();
  SchedulableSequence* a = Add(5);
  SchedulableSequence* b = Add(7);
  scheduler_->Admit([](const SchedulableSequence& sequence) { return sequence.prefill_tokens > 5; });
  EXPECT_EQ(a->place, Place::kWaiting);
  EXPECT_EQ(b->place, Place::kRunning);
  // Nothing changed: it does not ask again until told to.
  scheduler_->Admit([](const SchedulableSequence&) { return true; });
  EXPECT_EQ(a->place, Place::kWaiting);
  scheduler_->ReconsiderAdmission();
  scheduler_->Admit([](const SchedulableSequence&) { return true; });
  EXPECT_EQ(a->place, Place::kRunning);
}

TEST_F(SchedulerTest, NoMoreThanMaxRunningRun) {
  Start();
  for (int i = 0; i < 12; ++i) Add(1);
  Step();
  EXPECT_EQ(scheduler_->num_running(), 8);
  EXPECT_EQ(scheduler_->queue().size(), 4);
  scheduler_->Remove(sequences_[3].get());
  Step();
  EXPECT_EQ(scheduler_->num_running(), 8);
  EXPECT_EQ(sequences_[8]->place, Place::kRunning);
  EXPECT_EQ(sequences_[9]->place, Place::kWaiting);
}

TEST_F(SchedulerTest, RemoveIsHarmlessForASequenceThatIsNowhere) {
  Start();
  SchedulableSequence* a = Add(1);
  scheduler_->Remove(a);
  scheduler_->Remove(a);
  EXPECT_EQ(a->place, Place::kNone);
  EXPECT_EQ(scheduler_->queue().waiting_tokens(), 0);
}

TEST_F(SchedulerTest, OptionsOutOfRangeAreRefused) {
  Start();
  options_.max_batched_tokens = 23;
  EXPECT_EQ(Scheduler::Create(options_, cache_.get(), budget_.get()).status().code(), absl::StatusCode::kInvalidArgument);
  options_.max_batched_tokens = 24;
  EXPECT_TRUE(Scheduler::Create(options_, cache_.get(), budget_.get()).ok());
  options_.routing_window = 0;
  EXPECT_EQ(Scheduler::Create(options_, cache_.get(), budget_.get()).status().message(), "routing_window: must be at least 1, not 0");
}

TEST_F(SchedulerTest, RandomLoadIsServedToTheEnd) {
  std::mt19937 random(21);
  options_.max_batched_tokens = 30;
  Start(/*num_pages=*/60);
  std::vector<SchedulableSequence*> live;
  int64_t started = 0, steps_without_progress = 0;
  for (int step = 0; step < 20000; ++step) {
    if (started < 500 && random() % 4 == 0 && scheduler_->queue().size() < 90) {
      live.push_back(Add(1 + random() % 100, 1 + random() % 60));
      ++started;
    }
    const SchedulerOutput& plan = Step();
    steps_without_progress = plan.sequences.empty() && !live.empty() ? steps_without_progress + 1 : 0;
    ASSERT_LT(steps_without_progress, 1) << "something waits though nothing runs";
    for (size_t i = 0; i < live.size();) {
      // Everyone generates 1 to 20 tokens; a few are cancelled, also while waiting.
      const bool done = live[i]->computed_tokens >= live[i]->prefill_tokens + 20 || random() % 2000 == 0 ||
                        (!live[i]->in_prefill() && random() % 20 == 0);
      if (done) {
        scheduler_->Remove(live[i]);
        live.erase(live.begin() + i);
      } else {
        ++i;
      }
    }
    if (started == 500 && live.empty()) break;
  }
  EXPECT_TRUE(live.empty());
  EXPECT_EQ(budget_->reserved_pages(), 0);
}

}  // namespace
}  // namespace ration
