// Promises on the pool, and the bound on what a sequence holds at its floor, attacked with caches filled in every way.
#include "engine/budget/kv_budget.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

#include "engine/router/decode_router.h"
#include "engine/router/routing.h"
#include "tests/engine/budget/marked_cache.h"

namespace ration {
namespace {

using testing::MarkedCache;

TEST(KvBudget, AReservationLastsAsLongAsItsHandle) {
  KvBudget budget(10);
  auto a = budget.TryReserve(4);
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->pages(), 4);
  auto b = budget.TryReserve(6);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(budget.reserved_pages(), 10);
  EXPECT_FALSE(budget.CanReserve(1));
  EXPECT_EQ(budget.TryReserve(1), nullptr);
  EXPECT_EQ(budget.reserved_pages(), 10);
  EXPECT_TRUE(budget.CanReserve(0));
  a.reset();
  EXPECT_EQ(budget.reserved_pages(), 6);
  EXPECT_FALSE(budget.CanReserve(5));
  EXPECT_NE(budget.TryReserve(4), nullptr);  // and gone at once
  b.reset();
  EXPECT_EQ(budget.reserved_pages(), 0);
}

TEST(KvBudget, HeadroomIsKeptFromAllButTheFirst) {
  KvBudget budget(10);
  budget.set_headroom_pages(3);
  EXPECT_FALSE(budget.CanReserve(11));
  {
    const auto alone = budget.TryReserve(10);
    EXPECT_NE(alone, nullptr);
  }
  const auto first = budget.TryReserve(4);
  EXPECT_FALSE(budget.CanReserve(4));
  EXPECT_TRUE(budget.CanReserve(3));
  budget.set_headroom_pages(2);
  EXPECT_TRUE(budget.CanReserve(4));
}

TEST(KvBudget, OvercommitPromisesMoreThanThereIs) {
  KvBudget budget(10);
  budget.set_overcommit(1.55);
  EXPECT_FALSE(budget.CanReserve(16));
  const auto a = budget.TryReserve(10);
  EXPECT_TRUE(budget.covered());
  const auto b = budget.TryReserve(5);
  ASSERT_NE(b, nullptr);
  EXPECT_FALSE(budget.covered());
  EXPECT_FALSE(budget.CanReserve(1));
}

TEST(KvBudget, ABudgetLoweredBelowItsPromisesIsNotCovered) {
  KvBudget budget(10);
  const auto a = budget.TryReserve(8);
  budget.set_num_pages(8);
  EXPECT_TRUE(budget.covered());
  budget.set_num_pages(7);
  EXPECT_FALSE(budget.covered());
  EXPECT_FALSE(budget.CanReserve(0));
  EXPECT_EQ(budget.reserved_pages(), 8);
  budget.set_num_pages(20);
  EXPECT_TRUE(budget.CanReserve(12));
}

TEST(FloorPages, IsExactForTheCheapestExpert) {
  const KvCacheSpec spec = MarkedCache::Spec(3);
  for (int64_t tokens = 0; tokens < 200; ++tokens) {
    EXPECT_EQ(FloorPages(spec, Ratio::AllTo(2, 3), tokens), 3 * ((tokens + 15) / 16)) << tokens;
  }
}

TEST(FloorPages, IsWithinATailPageOfTheCheaperExpertsForAllToADearerOne) {
  const KvCacheSpec spec = MarkedCache::Spec(3);
  for (int64_t tokens = 0; tokens < 200; ++tokens) {
    for (const int expert : {0, 1}) {
      const int64_t slots = spec.slots_per_page(expert), exact = (tokens + slots - 1) / slots;
      const int64_t pages = FloorPages(spec, Ratio::AllTo(expert, 3), tokens);
      EXPECT_GE(pages, 3 * exact) << tokens;
      EXPECT_LE(pages, 3 * (exact + 2 - expert)) << tokens;
    }
  }
}

TEST(FloorPages, IsMonotoneInTokensAndNeverMoreThanOneAToken) {
  const KvCacheSpec spec = MarkedCache::Spec(2);
  for (const char* text : {"1:0:0", "0:1:0", "0:0:1", "3:1:6", "1:0:1", "1:9:0", "0:1:99", "1:1:999998"}) {
    const Ratio floor = *Ratio::Parse(text, 3);
    int64_t before = 0;
    for (int64_t tokens = 0; tokens < 3000; ++tokens) {
      const int64_t pages = FloorPages(spec, floor, tokens);
      ASSERT_GE(pages, before) << text << " " << tokens;
      ASSERT_LE(pages, 2 * tokens);
      before = pages;
    }
    // In the long run the floor's bytes and little more.
    const double bytes = static_cast<double>(before * spec.page_bytes());
    const double share = floor.KvFraction(spec.experts()) * 3000 * static_cast<double>(spec.bytes_per_token(0));
    EXPECT_GE(bytes, share * 0.999) << text;
    EXPECT_LE(bytes, share * 1.08) << text;
  }
}

Ratio RandomRatio(std::mt19937& random) {
  std::vector<double> weights(3);
  for (double& weight : weights) weight = random() % 3 == 0 ? 0 : static_cast<double>(1 + random() % 20);
  weights[random() % 3] = 1 + static_cast<double>(random() % 50);
  return *Ratio::FromWeights(weights);
}

// Tokens arrive anyhow: by a ratio, all at one expert, or at random. Then the sequence is brought to its floor, and one
// more step's tokens are routed there, as the engine does when memory is short. Whatever came before, it holds no more
// than was reserved.
TEST(FloorPages, BoundsWhateverASequenceHoldsAtItsFloor) {
  std::mt19937 random(13);
  int64_t tight = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    constexpr int kLayers = 2;
    // Small pages, where what routing may be off by counts most, and large ones, where a page's tokens do.
    const int64_t pages_of = trial % 2 == 0 ? 1 : 8;
    MarkedCache cache(kLayers, 1500, pages_of * MarkedCache::kPageBytes);
    const auto sequence = cache.manager.NewSequence();
    const Ratio floor = trial % 4 == 0 ? Ratio::AllTo(1 + static_cast<int>(random() % 2), 3) : RandomRatio(random);
    if (floor.ppm(0) == Ratio::kOne) continue;  // holds whatever was routed: below
    std::vector<ExpertCounts> counts(kLayers);
    Ratio routed_by = floor;
    int64_t tokens = 0;
    const int rounds = 1 + static_cast<int>(random() % 4);
    for (int round = 0; round < rounds; ++round) {
      // Before this step: anything was routed.
      const int64_t burst = static_cast<int64_t>(random() % (trial % 3 == 0 ? 12 : 150 * pages_of));
      const Ratio ratio = RandomRatio(random);
      const uint32_t kind = random() % 4;
      for (int layer = 0; layer < kLayers; ++layer) {
        std::vector<uint8_t> experts;
        std::vector<float> scores;
        const ExpertCounts quota = NextQuota(ratio, ExpertCounts(), burst);
        for (int64_t t = 0, e = 0, left = quota.count[0]; t < burst; ++t, --left) {
          while (left == 0) left = quota.count[++e];
          const uint8_t by_kind[4] = {static_cast<uint8_t>(random() % 3), static_cast<uint8_t>(trial % 3), 0,
                                      static_cast<uint8_t>(e)};
          experts.push_back(by_kind[kind]);
          for (int i = 0; i < 3; ++i) scores.push_back(static_cast<float>(random() % 1000) / 1000);
        }
        cache.Append(*sequence, layer, experts, scores);
        for (uint8_t expert : experts) counts[layer].Add(expert);
      }
      tokens += burst;
      cache.Regroup(*sequence, floor, Regrouper::kAll);
      ASSERT_LE(sequence->pages_held(), FloorPages(cache.manager.spec(), floor, tokens)) << floor.ToString();

      // This step: up to 64 tokens of a prompt, or one generated token, at the floor.
      DecodeRouter::Options options;
      options.num_layers = kLayers;
      options.ratio = floor;
      const auto router = *DecodeRouter::Create(options);
      const int64_t step = random() % 2 == 0 ? 1 : 1 + static_cast<int64_t>(random() % 64);
      for (int layer = 0; layer < kLayers; ++layer) {
        counts[layer] = Rebase(routed_by, floor, counts[layer], /*keep_debts=*/false);
        std::vector<uint8_t> experts(step);
        if (random() % 2 == 0) {
          std::vector<float> scores(3 * step);
          for (float& score : scores) score = static_cast<float>(random() % 1000) / 1000;
          ProgressiveTopK(scores, 3, NextQuota(floor, counts[layer], step), absl::MakeSpan(experts));
          for (uint8_t expert : experts) counts[layer].Add(expert);
        } else {
          for (uint8_t& expert : experts) {
            const std::vector<float> scores = {1, 0, 0};  // wants the dearest
            expert = static_cast<uint8_t>(router->Route(layer, scores, counts[layer]));
            counts[layer].Add(expert);
          }
        }
        cache.Append(*sequence, layer, experts);
      }
      routed_by = floor;
      tokens += step;
      const int64_t bound = FloorPages(cache.manager.spec(), floor, tokens);
      ASSERT_LE(sequence->pages_held(), bound)
          << "floor " << floor.ToString() << ", " << tokens << " tokens, " << step << " of them in this step";
      tight += sequence->pages_held() == bound ? 1 : 0;
    }
  }
  EXPECT_GT(tight, 100);
}

// The dearest expert has nothing to be regrouped to: its floor bounds whatever mix is held.
TEST(FloorPages, BoundsEveryMixUnderTheDearestFloor) {
  std::mt19937 random(14);
  for (int trial = 0; trial < 1000; ++trial) {
    MarkedCache cache(1, 400);
    const auto sequence = cache.manager.NewSequence();
    std::vector<uint8_t> experts(random() % 40);
    for (uint8_t& expert : experts) expert = static_cast<uint8_t>(random() % 3);
    cache.Append(*sequence, 0, experts);
    EXPECT_EQ(cache.Regroup(*sequence, Ratio::AllTo(0, 3), Regrouper::kAll), 0);
    ASSERT_LE(sequence->pages_held(),
              FloorPages(cache.manager.spec(), Ratio::AllTo(0, 3), static_cast<int64_t>(experts.size())));
  }
}

}  // namespace
}  // namespace ration
