// Which tokens move to a cheaper expert: no more than asked for, no further than the target, the least important first,
// in all layers.
#include "engine/budget/regrouper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "engine/router/routing.h"
#include "tests/engine/budget/marked_cache.h"

namespace ration {
namespace {

using testing::MarkedCache;

// Tokens at experts 0..e of a layer.
int64_t Prefix(const SequenceKv& sequence, int64_t layer, int expert) {
  int64_t tokens = 0;
  for (int e = 0; e <= expert; ++e) tokens += sequence.num_tokens(layer, e);
  return tokens;
}

double PrefixShare(const Ratio& ratio, int expert) {
  double share = 0;
  for (int e = 0; e <= expert; ++e) share += ratio.share(e);
  return share;
}

std::vector<uint8_t> All(int expert, int64_t tokens) {
  return std::vector<uint8_t>(tokens, static_cast<uint8_t>(expert));
}

TEST(Regrouper, FreesWhatIsAskedAndLittleMore) {
  for (const int64_t asked : {1, 2, 3, 5, 8, 13, 20, 30}) {
    MarkedCache cache(2);
    const auto sequence = cache.manager.NewSequence();
    for (int64_t layer = 0; layer < 2; ++layer) cache.Append(*sequence, layer, All(0, 200));
    const int64_t before = sequence->pages_held();
    const int64_t freed = cache.Regroup(*sequence, Ratio::AllTo(2, 3), asked);
    EXPECT_GE(freed, asked);
    EXPECT_LE(freed, asked + 2) << "layers round up";
    EXPECT_EQ(sequence->pages_held(), before - freed);
  }
}

TEST(Regrouper, ALaterLayerFreesWhatAnEarlierOneCannot) {
  MarkedCache cache(2);
  const auto sequence = cache.manager.NewSequence();
  cache.Append(*sequence, 0, All(2, 200));  // nothing to give
  cache.Append(*sequence, 1, All(0, 200));
  EXPECT_GE(cache.Regroup(*sequence, Ratio::AllTo(2, 3), 12), 12);
}

TEST(Regrouper, TheLayersGiveEvenly) {
  MarkedCache cache(4);
  const auto sequence = cache.manager.NewSequence();
  for (int64_t layer = 0; layer < 4; ++layer) cache.Append(*sequence, layer, All(0, 120));
  cache.Regroup(*sequence, *Ratio::Parse("0:0:1", 3), 20);
  int64_t least = 120, most = 0;
  for (int64_t layer = 0; layer < 4; ++layer) {
    least = std::min(least, sequence->num_tokens(layer, 0));
    most = std::max(most, sequence->num_tokens(layer, 0));
  }
  EXPECT_LT(most, 120);
  EXPECT_LE(most - least, 8);
}

TEST(Regrouper, TheLeastImportantPagesGoFirst) {
  MarkedCache cache(1);
  const auto sequence = cache.manager.NewSequence();
  // Ten pages; a page's importance is in no order, its tokens' marks tell which it is.
  const std::vector<float> importance = {0.9f, 0.1f, 0.5f, 0.8f, 0.2f, 0.7f, 0.3f, 1.0f, 0.4f, 0.6f};
  for (float score : importance) {
    std::vector<float> scores;
    for (int t = 0; t < 4; ++t) scores.insert(scores.end(), {score, 0, 0});
    cache.Append(*sequence, 0, All(0, 4), scores);
  }
  EXPECT_GE(cache.Regroup(*sequence, *Ratio::Parse("6:0:4", 3), Regrouper::kAll), 3);
  // Those with 0.1 to 0.4: pages 1, 4, 6, 8.
  std::vector<uint64_t> expected;
  for (uint64_t page : {1, 4, 6, 8}) {
    for (uint64_t t = 1; t <= 4; ++t) expected.push_back(4 * page + t);
  }
  EXPECT_EQ(cache.Marks(*sequence, 0, 2), expected);
  EXPECT_EQ(sequence->num_tokens(0, 1), 0);

  // And when few are asked for, of those the least.
  MarkedCache other(1);
  const auto few = other.manager.NewSequence();
  for (float score : importance) {
    std::vector<float> scores;
    for (int t = 0; t < 4; ++t) scores.insert(scores.end(), {score, 0, 0});
    other.Append(*few, 0, All(0, 4), scores);
  }
  EXPECT_GE(other.Regroup(*few, *Ratio::Parse("0:0:1", 3), 1), 1);
  const std::vector<uint64_t> moved = other.Marks(*few, 0, 2);
  ASSERT_LE(moved.size(), 8u);
  for (uint64_t mark : moved) EXPECT_TRUE((mark - 1) / 4 == 1 || (mark - 1) / 4 == 4) << mark;
}

TEST(Regrouper, NothingMovesAtTheTargetOrBelowIt) {
  const Ratio target = *Ratio::Parse("3:1:6", 3);
  MarkedCache cache(2);
  const auto at = cache.manager.NewSequence();
  const auto below = cache.manager.NewSequence();
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int e = 0; e < 3; ++e) cache.Append(*at, layer, All(e, NextQuota(target, ExpertCounts(), 500).count[e]));
    cache.Append(*below, layer, All(2, 100));
    cache.Append(*below, layer, All(1, 10));
  }
  EXPECT_EQ(cache.Regroup(*at, target, Regrouper::kAll), 0);
  EXPECT_EQ(at->regrouped_token_layers(), 0);
  EXPECT_EQ(cache.Regroup(*below, target, Regrouper::kAll), 0);
  EXPECT_EQ(below->regrouped_token_layers(), 0);
  EXPECT_EQ(cache.Regroup(*at, Ratio::AllTo(0, 3), Regrouper::kAll), 0);
  // Nor when nothing is asked for.
  EXPECT_EQ(cache.Regroup(*at, Ratio::AllTo(2, 3), 0), 0);
  EXPECT_EQ(at->regrouped_token_layers(), 0);
}

TEST(Regrouper, WithoutAStoreTheBooksAreKept) {
  MarkedCache cache(1);
  Regrouper books(&cache.manager, nullptr);
  const auto sequence = cache.manager.NewSequence();
  cache.Append(*sequence, 0, All(0, 64));
  EXPECT_EQ(books.Regroup(*sequence, Ratio::AllTo(2, 3), Regrouper::kAll), 12);
  books.Flush();
  EXPECT_EQ(sequence->num_tokens(0, 2), 64);
  EXPECT_EQ(cache.store.tokens_regrouped(), 0);
  cache.manager.CheckInvariants();
}

// Any cache, any target: a prefix of experts that is above its share never falls below it, one below is left alone;
// kAll leaves none a page above it; every token is still there; and what is freed is at least what was asked, unless
// there is no more.
TEST(Regrouper, RandomCachesReachTheirTargetsFromAboveOnly) {
  std::mt19937 random(31);
  int64_t limited = 0, exhausted = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    MarkedCache cache(2, 1000);
    const auto sequence = cache.manager.NewSequence();
    std::vector<uint64_t> marks[2];
    for (int64_t layer = 0; layer < 2; ++layer) {
      const uint32_t lean = random() % 4;
      for (int64_t chunk = 0; chunk < 4; ++chunk) {
        std::vector<uint8_t> experts(random() % 60);
        std::vector<float> scores;
        for (uint8_t& expert : experts) {
          expert = static_cast<uint8_t>(lean < 3 && random() % 2 ? lean : random() % 3);
          scores.insert(scores.end(), {static_cast<float>(random() % 100) / 100, 0, 0});
        }
        cache.Append(*sequence, layer, experts, scores);
      }
      marks[layer] = cache.AllMarks(*sequence, layer);
    }
    std::vector<double> weights(3);
    for (double& weight : weights) weight = random() % 3 == 0 ? 0 : static_cast<double>(1 + random() % 20);
    weights[random() % 3] = 1 + static_cast<double>(random() % 50);
    const Ratio target = *Ratio::FromWeights(weights);
    const bool all = random() % 2 == 0;
    const int64_t asked = all ? Regrouper::kAll : static_cast<int64_t>(random() % 40);

    int64_t before[2][3];
    for (int64_t layer = 0; layer < 2; ++layer) {
      for (int e = 0; e < 3; ++e) before[layer][e] = Prefix(*sequence, layer, e);
    }
    // What a later layer lacks, an earlier one gives when asked again.
    int64_t freed = 0;
    for (int64_t moved = -1; freed < asked && moved != sequence->regrouped_token_layers();) {
      moved = sequence->regrouped_token_layers();
      freed += cache.Regroup(*sequence, target, all ? Regrouper::kAll : asked - freed);
    }
    for (int64_t layer = 0; layer < 2; ++layer) {
      ASSERT_EQ(cache.AllMarks(*sequence, layer), marks[layer]);
      const double tokens = static_cast<double>(before[layer][2]);
      for (int e = 0; e < 2; ++e) {
        const int64_t now = Prefix(*sequence, layer, e);
        const double share = PrefixShare(target, e) * tokens;
        ASSERT_LE(now, before[layer][e]);
        if (now < before[layer][e]) {
          ASSERT_GE(static_cast<double>(now), share - 1e-3) << target.ToString() << " expert " << e;
        }
        if (all) {
          ASSERT_LT(static_cast<double>(now), share + 1 + static_cast<double>(cache.manager.spec().slots_per_page(e)))
              << target.ToString() << " expert " << e;
          if (PrefixShare(target, e) == 0) {
            ASSERT_EQ(now, 0);
          }
        }
      }
    }
    if (all) {
      // There is no more.
      ASSERT_EQ(cache.Regroup(*sequence, target, Regrouper::kAll), 0);
    } else if (freed >= asked) {
      ++limited;
    } else {
      ++exhausted;
      ASSERT_EQ(cache.Regroup(*sequence, target, Regrouper::kAll), 0) << target.ToString();
    }
  }
  EXPECT_GT(limited, 200);
  EXPECT_GT(exhausted, 100);
}

}  // namespace
}  // namespace ration
