#include "engine/engine_stats.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ration {
namespace {

using ::testing::IsSupersetOf;

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
  // vLLM's, which dashboards and routers made for it expect.
  EXPECT_EQ(stats.time_to_first_token.bounds.size(), 22u);
  EXPECT_THAT(stats.inter_token_latency.bounds,
              IsSupersetOf({0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0}));
  EXPECT_THAT(stats.request_seconds.bounds, IsSupersetOf({0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0,
                                                          60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0}));
}

}  // namespace
}  // namespace ration
