// Tests engine/budget/router_cache.cc: the same routers as made directly, kept and dropped by use, and what making one costs.
#include "engine/budget/router_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "absl/types/span.h"

namespace ration {
namespace {

RouterCache::Options SixteenLayers() {
  RouterCache::Options options;
  options.num_layers = 16;
  options.num_experts = 3;
  std::mt19937_64 random(1);
  std::uniform_real_distribution<float> score(0, 1);
  options.calibration.resize(16);
  for (auto& layer : options.calibration) {
    for (int i = 0; i < 512 * 3; ++i) layer.push_back(score(random));
  }
  return options;
}

Ratio WithFirst(int percent) { return *Ratio::FromWeights({percent / 100.0, 0.1, 0.9 - percent / 100.0}); }

TEST(RouterCache, GivesTheRoutersThatCalibrationGives) {
  const RouterCache::Options options = SixteenLayers();
  const auto cache = *RouterCache::Create(options);
  DecodeRouter::Options direct;
  direct.num_layers = options.num_layers;
  direct.calibration = options.calibration;
  std::mt19937_64 random(2);
  std::uniform_real_distribution<float> score(0, 1);
  for (int percent = 0; percent <= 90; percent += 10) {
    direct.ratio = WithFirst(percent);
    const auto expected = *DecodeRouter::Create(direct);
    const auto router = cache->Get(direct.ratio);
    EXPECT_EQ(router->ratio(), direct.ratio);
    ExpertCounts counts;
    for (int token = 0; token < 300; ++token) {
      const std::vector<float> scores = {score(random), score(random), score(random)};
      const int layer = token % options.num_layers;
      const int expert = expected->Route(layer, scores, counts);
      ASSERT_EQ(router->Route(layer, scores, counts), expert);
      counts.Add(expert);
    }
  }
}

TEST(RouterCache, KeepsTheMostRecentlyUsed) {
  RouterCache::Options options = SixteenLayers();
  options.capacity = 2;
  const auto cache = *RouterCache::Create(options);
  const std::shared_ptr<const DecodeRouter> ten = cache->Get(WithFirst(10)), twenty = cache->Get(WithFirst(20));
  EXPECT_EQ(cache->Get(WithFirst(10)), ten);
  cache->Get(WithFirst(30));  // drops 20
  EXPECT_EQ(cache->size(), 2);
  EXPECT_EQ(cache->Get(WithFirst(10)), ten);
  EXPECT_NE(cache->Get(WithFirst(20)), twenty);
  EXPECT_EQ(twenty->ratio(), WithFirst(20));  // its users keep it
}

TEST(RouterCache, ThresholdsAndTheRuleOfTheOptionsAreKeptApart) {
  RouterCache::Options options = SixteenLayers();
  options.rule = DecodeRule::kArgmax;
  const auto cache = *RouterCache::Create(options);
  EXPECT_EQ(cache->Get(WithFirst(30))->rule(), DecodeRule::kArgmax);
  EXPECT_EQ(cache->GetThreshold(WithFirst(30))->rule(), DecodeRule::kThreshold);
  EXPECT_EQ(cache->size(), 2);
}

TEST(RouterCache, RefusesABadCalibrationAtOnce) {
  RouterCache::Options options = SixteenLayers();
  options.calibration[3].pop_back();
  EXPECT_EQ(RouterCache::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = SixteenLayers();
  options.capacity = 0;
  EXPECT_EQ(RouterCache::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
}

// Prints what the governor's step pays for a ratio that was not there before; no assertion, machines differ.
TEST(RouterCache, CostOfANewRatio) {
  const auto cache = *RouterCache::Create(SixteenLayers());
  std::vector<double> micros;
  for (int percent = 0; percent <= 90; ++percent) {
    const auto start = std::chrono::steady_clock::now();
    cache->Get(WithFirst(percent));
    micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(micros.begin(), micros.end());
  RecordProperty("median_us", static_cast<int>(micros[micros.size() / 2]));
  GTEST_LOG_(INFO) << "a new router, 16 layers of 512 samples of 3 experts: median " << micros[micros.size() / 2] << " us";
}

}  // namespace
}  // namespace ration
