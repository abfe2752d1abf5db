// The thread pool: every index exactly once, results visible to the caller, sleeping threads woken, small loops inline.
#include "kernels/cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace ration::kernels::cpu {
namespace {

#ifdef RATION_SANITIZER
constexpr int kLoops = 2000;
#else
constexpr int kLoops = 20000;
#endif

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RunsEveryIndexOnceAndShowsTheCallerTheResult) {
  ThreadPool pool(GetParam());
  for (const int64_t count : {0, 1, 2, 3, 17, 1000, 4099}) {
    for (const int64_t grain : {1, 2, 7, 1000, 100000}) {
      std::vector<int> runs(count, 0);  // plain memory: the pool itself must order the accesses
      pool.ParallelFor(count, [&](int64_t index, int thread) {
        ++runs[index];
        ASSERT_GE(thread, 0);
        ASSERT_LT(thread, pool.num_threads());
      }, grain);
      EXPECT_EQ(runs, std::vector<int>(count, 1)) << count << " indices, grain " << grain;
    }
  }
}

TEST_P(ThreadPoolTest, ManySmallLoopsInARow) {
  ThreadPool pool(GetParam());
  std::vector<int64_t> sums(4, 0);
  for (int loop = 0; loop < kLoops; ++loop) {
    // Each loop reads what the one before wrote at another index.
    std::vector<int64_t> next(4);
    pool.ParallelFor(4, [&](int64_t i, int) { next[i] = sums[(i + 1) % 4] + i; });
    sums = next;
  }
  EXPECT_EQ(std::accumulate(sums.begin(), sums.end(), int64_t{0}), int64_t{kLoops} * 6);
}

TEST_P(ThreadPoolTest, WakesThreadsThatHaveGoneToSleep) {
  ThreadPool pool(GetParam());
  for (int round = 0; round < 20; ++round) {
    // Longer than the threads spin.
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1);
    while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
    // Indices wait for each other, so the loop ends only if every thread takes part.
    std::atomic<int> arrived{0};
    pool.ParallelFor(pool.num_threads(), [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < pool.num_threads()) std::this_thread::yield();
    });
    EXPECT_EQ(arrived.load(), pool.num_threads());
  }
}

TEST_P(ThreadPoolTest, LoopsOfAtMostOneGrainRunOnTheCaller) {
  ThreadPool pool(GetParam());
  const std::thread::id caller = std::this_thread::get_id();
  pool.ParallelFor(1, [&](int64_t, int thread) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(thread, 0);
  });
  int64_t next = 0;
  pool.ParallelFor(50, [&](int64_t index, int) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    EXPECT_EQ(index, next++);
  }, 50);
  EXPECT_EQ(next, 50);
}

TEST_P(ThreadPoolTest, StartsAndStopsWithoutWork) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(GetParam());
    if (i % 2 == 0) pool.ParallelFor(3, [](int64_t, int) {});
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace ration::kernels::cpu
