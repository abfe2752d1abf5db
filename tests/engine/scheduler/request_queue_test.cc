#include "engine/scheduler/request_queue.h"

#include <vector>

#include <gtest/gtest.h>

namespace ration {
namespace {

using Place = SchedulableSequence::Place;

std::vector<SchedulableSequence> Sequences(const std::vector<int64_t>& pages) {
  std::vector<SchedulableSequence> sequences(pages.size());
  for (size_t i = 0; i < pages.size(); ++i) {
    sequences[i].prefill_tokens = 10 * (static_cast<int64_t>(i) + 1);
    sequences[i].reserved_pages = pages[i];
  }
  return sequences;
}

const auto kEverything = [](const SchedulableSequence&) { return true; };

TEST(RequestQueue, IsFirstInFirstOutAndBounded) {
  RequestQueue queue(3, 0);
  std::vector<SchedulableSequence> sequences = Sequences({1, 1, 1, 1});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.TryPush(&sequences[i]));
  EXPECT_FALSE(queue.TryPush(&sequences[3]));
  EXPECT_EQ(sequences[3].place, Place::kNone);
  EXPECT_EQ(sequences[0].place, Place::kWaiting);
  EXPECT_EQ(queue.size(), 3);
  EXPECT_EQ(queue.waiting_tokens(), 10 + 20 + 30);
  queue.Remove(&sequences[1]);
  EXPECT_EQ(queue.waiting_tokens(), 10 + 30);
  EXPECT_TRUE(queue.TryPush(&sequences[3]));
  queue.CheckInvariants();
  EXPECT_EQ(queue.PopFirstFitting(kEverything), &sequences[0]);
  EXPECT_EQ(sequences[0].place, Place::kNone);
  EXPECT_EQ(queue.PopFirstFitting(kEverything), &sequences[2]);
  EXPECT_EQ(queue.PopFirstFitting(kEverything), &sequences[3]);
  EXPECT_EQ(queue.PopFirstFitting(kEverything), nullptr);
  EXPECT_EQ(queue.waiting_tokens(), 0);
}

TEST(RequestQueue, PriorityIsWorthWaitingTime) {
  RequestQueue queue(10, 0);
  std::vector<SchedulableSequence> sequences = Sequences({1, 1, 1, 1});
  const absl::Time start = absl::FromUnixSeconds(1000);
  sequences[0].queue_time = start;
  sequences[1].queue_time = start + absl::Seconds(1);
  sequences[2].queue_time = start + absl::Seconds(5) - absl::Seconds(10);  // one level, at ten seconds a level
  sequences[3].queue_time = start;                                         // as early as the first, but came later
  for (SchedulableSequence& sequence : sequences) ASSERT_TRUE(queue.TryPush(&sequence));
  queue.CheckInvariants();
  for (int i : {2, 0, 3, 1}) EXPECT_EQ(queue.PopFirstFitting(kEverything), &sequences[i]);
}

TEST(RequestQueue, WhatRanComesBackInFrontAndBeyondTheLimit) {
  RequestQueue queue(1, 0);
  std::vector<SchedulableSequence> sequences = Sequences({1, 1});
  ASSERT_TRUE(queue.TryPush(&sequences[0]));
  EXPECT_FALSE(queue.TryPush(&sequences[1]));
  queue.PushBack(&sequences[1]);
  EXPECT_EQ(queue.size(), 2);
  queue.CheckInvariants();
  EXPECT_EQ(queue.PopFirstFitting(kEverything), &sequences[1]);
}

TEST(RequestQueue, SmallOnesPassALargeOneOnlySoOften) {
  RequestQueue queue(100, 3);
  std::vector<SchedulableSequence> sequences = Sequences({50, 1, 1, 1, 1, 1});
  for (SchedulableSequence& sequence : sequences) ASSERT_TRUE(queue.TryPush(&sequence));
  const auto small = [](const SchedulableSequence& sequence) { return sequence.reserved_pages <= 10; };
  EXPECT_EQ(queue.PopFirstFitting(small), &sequences[1]);
  EXPECT_EQ(queue.PopFirstFitting(small), &sequences[2]);
  EXPECT_EQ(queue.PopFirstFitting(small), &sequences[3]);
  EXPECT_EQ(sequences[0].times_overtaken, 3);
  EXPECT_EQ(queue.PopFirstFitting(small), nullptr);
  queue.CheckInvariants();
  EXPECT_EQ(queue.PopFirstFitting(kEverything), &sequences[0]);
  EXPECT_EQ(queue.PopFirstFitting(small), &sequences[4]);
}

TEST(RequestQueue, EveryOnePassedIsCounted) {
  RequestQueue queue(100, 1);
  std::vector<SchedulableSequence> sequences = Sequences({50, 60, 1, 1});
  for (SchedulableSequence& sequence : sequences) ASSERT_TRUE(queue.TryPush(&sequence));
  const auto small = [](const SchedulableSequence& sequence) { return sequence.reserved_pages <= 10; };
  EXPECT_EQ(queue.PopFirstFitting(small), &sequences[2]);
  EXPECT_EQ(sequences[1].times_overtaken, 1);
  // The head may go now, the second still blocks what is behind it.
  EXPECT_EQ(queue.PopFirstFitting([](const SchedulableSequence& s) { return s.reserved_pages <= 50; }),
            &sequences[0]);
  EXPECT_EQ(queue.PopFirstFitting(small), nullptr);
}

TEST(RequestQueue, LooksOnlySoFarBehindAHeadThatDoesNotFit) {
  RequestQueue queue(1000, 5);
  std::vector<int64_t> pages(RequestQueue::kMaxLookahead, 50);
  pages.push_back(1);
  std::vector<SchedulableSequence> sequences = Sequences(pages);
  for (SchedulableSequence& sequence : sequences) ASSERT_TRUE(queue.TryPush(&sequence));
  int64_t asked = 0;
  EXPECT_EQ(queue.PopFirstFitting([&](const SchedulableSequence& sequence) {
    ++asked;
    return sequence.reserved_pages <= 10;
  }),
            nullptr);
  EXPECT_EQ(asked, RequestQueue::kMaxLookahead);
}

}  // namespace
}  // namespace ration
