// Tests engine/budget/router_cache.cc: the same routers as made directly, kept and dropped by use, and what making one costs.
#include "engine/budget/router_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "engine/router/routing.h"

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

// The middle expert's threshold, found from progressive top-k itself: a quantile of its scores among the tokens that the first left.
TEST(RouterCache, ThresholdsAreThoseOfProgressiveTopK) {
  const RouterCache::Options options = SixteenLayers();
  const auto cache = *RouterCache::Create(options);
  for (int percent = 10; percent <= 80; percent += 10) {
    const Ratio ratio = WithFirst(percent);
    const auto router = cache->Get(ratio);
    EXPECT_EQ(router->ratio(), ratio);
    for (int layer = 0; layer < options.num_layers; ++layer) {
      const std::vector<float>& samples = options.calibration[layer];
      std::vector<uint8_t> experts(512);
      ProgressiveTopK(samples, 3, NextQuota(ratio, {}, 512), absl::MakeSpan(experts));
      std::vector<float> left;
      for (int t = 0; t < 512; ++t) {
        if (experts[t] >= 1) left.push_back(samples[3 * t + 1]);
      }
      std::sort(left.rbegin(), left.rend());
      // A sequence's first token: the share of what is left, and a little for the token owed.
      const double wanted = ratio.share(1) / (1 - ratio.share(0)) + (ratio.share(0) + ratio.share(1)) / 32;
      const size_t index = static_cast<size_t>(wanted * static_cast<double>(left.size()) - 0.5);
      EXPECT_EQ(router->Route(layer, std::vector<float>{-1, left[index] + 1e-6f, 0}, {}), 1);
      EXPECT_EQ(router->Route(layer, std::vector<float>{-1, left[index + 1] - 1e-6f, 0}, {}), 2);
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
