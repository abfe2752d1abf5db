#include "engine/engine_stats.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace ration {
namespace {

TEST(HistogramData, CountsIntoTheFirstBucketThatIsNotBelow) {
  HistogramData histogram({1, 2, 5});
  for (double value : {0.0, 1.0, 1.5, 2.0, 4.9, 5.0, 5.1, 100.0}) histogram.Observe(value);
  EXPECT_EQ(histogram.counts, (std::vector<int64_t>{2, 2, 2, 2}));
  EXPECT_DOUBLE_EQ(histogram.sum, 0 + 1 + 1.5 + 2 + 4.9 + 5 + 5.1 + 100);
}

TEST(EngineStats, EveryHistogramAscendsAndHasABucketBeyondTheLast) {
  const EngineStats stats;
  for (const HistogramData* histogram :
       {&stats.time_to_first_token, &stats.inter_token_latency, &stats.time_per_output_token, &stats.request_seconds,
        &stats.queue_seconds, &stats.step_seconds, &stats.step_tokens}) {
    ASSERT_FALSE(histogram->bounds.empty());
    EXPECT_TRUE(std::is_sorted(histogram->bounds.begin(), histogram->bounds.end()));
    EXPECT_EQ(histogram->counts.size(), histogram->bounds.size() + 1);
  }
  // The buckets dashboards know.
  EXPECT_EQ(stats.time_to_first_token.bounds.size(), 22u);
  EXPECT_EQ(stats.inter_token_latency.bounds.size(), 19u);
  EXPECT_EQ(stats.request_seconds.bounds.size(), 21u);
}

}  // namespace
}  // namespace ration
