// Page tables that change under their tokens: pages regrouped, moved and bounded. The marks in a FakeKvStore show that
// no token is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/kv_cache/kv_cache_manager.h"
#include "tests/testing/fake_kv_store.h"

namespace ration {
namespace {

using kernels::KvSlot;
using testing::FakeKvStore;

// Two layers, three experts with 1, 2 and 4 slots a page.
KvCacheSpec SmallSpec() {
  KvCacheSpec::Options options;
  options.num_layers = 2;
  options.num_kv_heads = 4;
  options.head_dim = 8;
  options.experts = *ExpertSpec::Create({1, 2, 4}, 4);
  options.page_bytes = 256;
  return *KvCacheSpec::Create(options);
}

std::vector<KvSlot> Append(KvCacheManager& manager, SequenceKv& sequence, int64_t layer,
                           const std::vector<uint8_t>& experts) {
  std::vector<KvSlot> slots(experts.size());
  manager.Append(sequence, layer, 0, experts, {}, absl::MakeSpan(slots));
  return slots;
}

// Four, eight and sixteen slots a page.
KvCacheSpec LargerSpec(int64_t num_layers) {
  KvCacheSpec::Options options;
  options.num_layers = num_layers;
  options.num_kv_heads = 4;
  options.head_dim = 8;
  options.experts = *ExpertSpec::Create({1, 2, 4}, 4);
  options.page_bytes = 1024;
  return *KvCacheSpec::Create(options);
}

// A manager whose tokens leave marks in a store, which dies if a mark is lost or overwritten.
struct MarkedCache {
  MarkedCache(const KvCacheSpec& spec, int64_t pages) : manager(spec, pages), store(spec.layout(), pages) {}

  // Marks are 1, 2, 3, ...
  void Append(SequenceKv& sequence, int64_t layer, const std::vector<uint8_t>& experts,
              const std::vector<float>& scores = {}) {
    std::vector<KvSlot> slots(experts.size());
    manager.Append(sequence, layer, 0, experts, scores, absl::MakeSpan(slots));
    for (const KvSlot& slot : slots) store.Write(slot, next_mark++);
  }
  std::vector<uint64_t> Marks(const SequenceKv& sequence, int64_t layer, int expert) const {
    const kernels::PagedKvView view = sequence.View(layer);
    const int32_t slots = store.slots_per_page(expert);
    std::vector<uint64_t> marks;
    for (int32_t s = 0; s < view.experts[expert].num_slots; ++s) {
      marks.push_back(store.Read({view.experts[expert].pages[s / slots], s % slots, expert}));
    }
    return marks;
  }
  std::vector<uint64_t> SortedMarks(const SequenceKv& sequence, int64_t layer) const {
    std::vector<uint64_t> all;
    for (int e = 0; e < manager.spec().num_experts(); ++e) {
      for (uint64_t mark : Marks(sequence, layer, e)) all.push_back(mark);
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  int64_t Regroup(SequenceKv& sequence, int64_t layer, int from, int64_t index, int to) {
    RegroupMoves moves;
    const int64_t freed = manager.RegroupPage(sequence, layer, from, index, to, moves.moves);
    moves.CloseChain();
    store.Regroup(moves);
    return freed;
  }
  void Shrink(int64_t pages) {
    std::vector<PageMove> copies;
    manager.Shrink(pages, copies);
    store.CopyPages(copies);
    EXPECT_TRUE(store.Resize(pages).ok());
  }

  KvCacheManager manager;
  FakeKvStore store;
  uint64_t next_mark = 1;
};

std::vector<uint64_t> Sorted(std::vector<uint64_t> values) {
  std::sort(values.begin(), values.end());
  return values;
}

struct RegroupCase {
  const char* what;
  int from, to;
  int64_t from_tokens, to_tokens, index;
  int64_t freed, from_pages, to_pages;  // after
};

class RegroupPage : public ::testing::TestWithParam<RegroupCase> {};

TEST_P(RegroupPage, MovesThePagesTokensAndNoOthers) {
  const RegroupCase& param = GetParam();
  MarkedCache cache(LargerSpec(2), 40);
  KvCacheManager& manager = cache.manager;
  const auto other = manager.NewSequence();
  const auto sequence = manager.NewSequence();
  cache.Append(*other, 1, std::vector<uint8_t>(5, static_cast<uint8_t>(param.to)));
  cache.Append(*sequence, 1, std::vector<uint8_t>(param.to_tokens, static_cast<uint8_t>(param.to)));
  cache.Append(*sequence, 1, std::vector<uint8_t>(param.from_tokens, static_cast<uint8_t>(param.from)));
  cache.Append(*sequence, 0, std::vector<uint8_t>(3, static_cast<uint8_t>(param.from)));
  const std::vector<uint64_t> from_before = cache.Marks(*sequence, 1, param.from);
  const std::vector<uint64_t> to_before = cache.Marks(*sequence, 1, param.to);
  const int64_t slots = manager.spec().slots_per_page(param.from);
  const int64_t used = manager.used_pages(), stored = sequence->stored_bytes(), full = sequence->full_bytes();
  std::vector<uint64_t> moved, stay;
  for (int64_t t = 0; t < param.from_tokens; ++t) (t / slots == param.index ? moved : stay).push_back(from_before[t]);
  const int64_t count = static_cast<int64_t>(moved.size());

  EXPECT_EQ(cache.Regroup(*sequence, 1, param.from, param.index, param.to), param.freed);
  manager.CheckInvariants();
  EXPECT_EQ(sequence->num_pages(1, param.from), param.from_pages);
  EXPECT_EQ(sequence->num_pages(1, param.to), param.to_pages);
  EXPECT_EQ(manager.used_pages(), used - param.freed);
  EXPECT_EQ(Sorted(cache.Marks(*sequence, 1, param.from)), Sorted(stay));
  std::vector<uint64_t> at_target = to_before;
  at_target.insert(at_target.end(), moved.begin(), moved.end());
  EXPECT_EQ(cache.Marks(*sequence, 1, param.to), at_target);  // in order, behind what was there
  EXPECT_EQ(cache.Marks(*sequence, 0, param.from).size(), 3u);
  EXPECT_EQ(cache.Marks(*other, 1, param.to).size(), 5u);

  // What routing said stays; where the tokens are now follows.
  EXPECT_EQ(sequence->appended_token_layers(param.from), param.from_tokens + 3);
  EXPECT_EQ(sequence->appended_token_layers(param.to), param.to_tokens);
  EXPECT_EQ(sequence->num_token_layers(param.from), param.from_tokens + 3 - count);
  EXPECT_EQ(sequence->num_token_layers(param.to), param.to_tokens + count);
  EXPECT_EQ(manager.num_token_layers(param.to), param.to_tokens + count + 5);
  EXPECT_EQ(sequence->regrouped_token_layers(), count);
  EXPECT_EQ(other->regrouped_token_layers(), 0);
  for (int from = 0; from < 3; ++from) {
    for (int to = 0; to < 3; ++to) {
      EXPECT_EQ(manager.regrouped_token_layers()[from][to], from == param.from && to == param.to ? count : 0);
    }
  }
  EXPECT_EQ(sequence->full_bytes(), full);
  EXPECT_EQ(stored - sequence->stored_bytes(), count * (manager.spec().bytes_per_token_layer(param.from) -
                                                        manager.spec().bytes_per_token_layer(param.to)));
  // The tails take new tokens as ever.
  cache.Append(*sequence, 1, {static_cast<uint8_t>(param.from), static_cast<uint8_t>(param.to)});
  manager.CheckInvariants();
  EXPECT_EQ(cache.SortedMarks(*sequence, 1).size(), static_cast<size_t>(param.from_tokens + param.to_tokens + 2));
}

INSTANTIATE_TEST_SUITE_P(KvCacheManager, RegroupPage,
                         ::testing::Values(RegroupCase{"PartTailToEmptyTarget", 0, 1, 6, 0, 1, 0, 1, 1},
                                           RegroupCase{"PartTailIntoTail", 0, 1, 6, 3, 1, 1, 1, 1},
                                           RegroupCase{"OnlyPageIntoTail", 0, 1, 3, 1, 0, 1, 0, 1},
                                           RegroupCase{"FullPageFillsTailExactly", 0, 1, 8, 4, 0, 1, 1, 1},
                                           RegroupCase{"FullPageOverflowsTail", 0, 1, 8, 6, 0, 0, 1, 2},
                                           RegroupCase{"FullPageBesideFullTarget", 0, 1, 8, 8, 1, 0, 1, 2},
                                           RegroupCase{"FirstOfThreeWithPartTail", 0, 1, 11, 5, 0, 0, 2, 2},
                                           RegroupCase{"MiddleOfThreeWithPartTail", 0, 1, 11, 4, 1, 1, 2, 1},
                                           RegroupCase{"MiddleOfFour", 0, 1, 14, 0, 1, 0, 3, 1},
                                           RegroupCase{"JumpIntoTail", 0, 2, 8, 10, 1, 1, 1, 1},
                                           RegroupCase{"JumpOverflowsTail", 0, 2, 8, 14, 0, 0, 1, 2},
                                           RegroupCase{"JumpToEmptyTarget", 0, 2, 13, 0, 2, 0, 3, 1},
                                           RegroupCase{"MiddleExpert", 1, 2, 20, 3, 0, 1, 2, 1},
                                           RegroupCase{"MiddleExpertOverflows", 1, 2, 20, 12, 1, 0, 2, 2}),
                         [](const auto& info) { return std::string(info.param.what); });

TEST(KvCacheManager, ImportanceFollowsTheTokensOfARegroupedPage) {
  MarkedCache cache(LargerSpec(1), 20);
  const auto sequence = cache.manager.NewSequence();
  const auto append = [&](uint8_t expert, float importance) {
    cache.Append(*sequence, 0, {expert}, {importance, 0.5f, 0.5f});
  };
  for (float importance : {0.1f, 0.2f, 0.3f, 0.4f}) append(0, importance);  // mean 0.25
  for (float importance : {0.8f, 0.6f}) append(0, importance);              // mean 0.7
  for (int i = 0; i < 6; ++i) append(1, 0.9f);
  EXPECT_FLOAT_EQ(sequence->MeanImportance(0, 0, 0), 0.25f);
  EXPECT_FLOAT_EQ(sequence->MeanImportance(0, 0, 1), 0.7f);
  EXPECT_FLOAT_EQ(sequence->MeanImportance(0, 1, 0), 0.9f);
  cache.Regroup(*sequence, 0, 0, 0, 1);  // two tokens to the tail, two on a page of their own
  EXPECT_FLOAT_EQ(sequence->MeanImportance(0, 0, 0), 0.7f);
  EXPECT_FLOAT_EQ(sequence->MeanImportance(0, 1, 0), (6 * 0.9f + 2 * 0.25f) / 8);
  EXPECT_FLOAT_EQ(sequence->MeanImportance(0, 1, 1), 0.25f);
  // Without scores, and for scores that are no numbers, it counts as none.
  cache.Append(*sequence, 0, {0}, {std::numeric_limits<float>::quiet_NaN(), 0, 0});
  cache.Append(*sequence, 0, {0});
  EXPECT_FLOAT_EQ(sequence->MeanImportance(0, 0, 0), 0.35f);
}

TEST(KvCacheManager, MaxNewPagesIsExactForOneToken) {
  const KvCacheSpec spec = LargerSpec(3);
  KvCacheManager manager(spec, 400);
  const auto sequence = manager.NewSequence();
  std::mt19937 random(4);
  int64_t seen[4] = {};
  for (int step = 0; step < 600; ++step) {
    for (int mask = 0; mask < 8; ++mask) {
      const bool reachable[3] = {(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0};
      int64_t worst = 0;
      for (int64_t layer = 0; layer < 3; ++layer) {
        bool new_page = false;
        for (int e = 0; e < 3; ++e) {
          new_page = new_page || (reachable[e] && sequence->num_tokens(layer, e) ==
                                                      sequence->num_pages(layer, e) * spec.slots_per_page(e));
        }
        worst += new_page ? 1 : 0;
      }
      ASSERT_EQ(manager.MaxNewPages(*sequence, reachable, 1), worst) << mask;
      ++seen[worst];
    }
    Append(manager, *sequence, static_cast<int64_t>(random() % 3), {static_cast<uint8_t>(random() % 3)});
  }
  for (int64_t count : seen) EXPECT_GT(count, 0);
}

TEST(KvCacheManager, MaxNewPagesBoundsEverySplitOfManyTokens) {
  const KvCacheSpec spec = LargerSpec(2);
  std::mt19937 random(8);
  for (int trial = 0; trial < 2000; ++trial) {
    KvCacheManager manager(spec, 400);
    const auto sequence = manager.NewSequence();
    const int mask = 1 + static_cast<int>(random() % 7);
    const bool reachable[3] = {(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0};
    std::vector<uint8_t> allowed;
    for (int e = 0; e < 3; ++e) {
      if (reachable[e]) allowed.push_back(static_cast<uint8_t>(e));
    }
    for (int64_t layer = 0; layer < 2; ++layer) {
      std::vector<uint8_t> experts(random() % 40);
      for (uint8_t& expert : experts) expert = static_cast<uint8_t>(random() % 3);
      Append(manager, *sequence, layer, experts);
    }
    const int64_t count = 2 + static_cast<int64_t>(random() % 40);
    const int64_t bound = manager.MaxNewPages(*sequence, reachable, count);
    const int64_t before = manager.used_pages();
    for (int64_t layer = 0; layer < 2; ++layer) {
      std::vector<uint8_t> experts(count);
      const uint32_t bias = random() % 4;  // mostly the first, or spread evenly
      for (uint8_t& expert : experts) expert = allowed[random() % (bias + 1) == 0 ? random() % allowed.size() : 0];
      Append(manager, *sequence, layer, experts);
    }
    ASSERT_LE(manager.used_pages() - before, bound) << count << " tokens, experts " << mask;
    ASSERT_LE(bound, 2 * count);
  }
}

TEST(KvCacheManager, MaxNewPagesIsWithinAPageOfTheWorstSplitOfManyTokens) {
  const KvCacheSpec spec = LargerSpec(1);
  KvCacheManager manager(spec, 1);
  const auto sequence = manager.NewSequence();
  const auto pages = [&spec](int e, int64_t tokens) {
    return (tokens + spec.slots_per_page(e) - 1) / spec.slots_per_page(e);
  };
  const bool reachable[3] = {true, true, true};
  for (int64_t count = 2; count <= 60; ++count) {
    int64_t worst = 0;
    for (int64_t a = 0; a <= count; ++a) {
      for (int64_t b = 0; a + b <= count; ++b)
        worst = std::max(worst, pages(0, a) + pages(1, b) + pages(2, count - a - b));
    }
    const int64_t bound = manager.MaxNewPages(*sequence, reachable, count);
    EXPECT_GE(bound, worst) << count;
    EXPECT_LE(bound, worst + 1) << count;
  }
}

TEST(KvCacheManager, ShrinkKeepsEveryTokenWhereItsPageTableSays) {
  MarkedCache cache(SmallSpec(), 30);
  auto gone = cache.manager.NewSequence();
  const auto a = cache.manager.NewSequence();
  const auto b = cache.manager.NewSequence();
  for (int i = 0; i < 4; ++i) {
    cache.Append(*gone, 0, {0, 0});
    cache.Append(*a, i % 2, {0, 1, 2});
    cache.Append(*b, 1, {1, 1, 0});
  }
  EXPECT_EQ(gone->pages_held(), 8);
  gone.reset();
  std::vector<std::vector<uint64_t>> before;
  for (const SequenceKv* sequence : {a.get(), b.get()}) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      for (int e = 0; e < 3; ++e) before.push_back(cache.Marks(*sequence, layer, e));
    }
  }
  const int64_t used = cache.manager.used_pages();
  cache.Shrink(used);
  cache.manager.CheckInvariants();
  EXPECT_EQ(cache.manager.num_pages(), used);
  EXPECT_EQ(cache.manager.free_pages(), 0);
  size_t i = 0;
  for (const SequenceKv* sequence : {a.get(), b.get()}) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      for (int e = 0; e < 3; ++e) EXPECT_EQ(cache.Marks(*sequence, layer, e), before[i++]);
    }
  }
}

TEST(KvCacheManager, RandomRegroupsAndSizesLoseNoToken) {
  MarkedCache cache(LargerSpec(2), 60);
  KvCacheManager& manager = cache.manager;
  std::mt19937 random(21);
  struct Live {
    std::unique_ptr<SequenceKv> kv;
    std::vector<uint64_t> marks[2];  // ascending
  };
  std::vector<Live> live;
  int64_t freed = 0, regrouped = 0, shrinks = 0;
  for (int step = 0; step < 20000; ++step) {
    if (live.empty() || (live.size() < 6 && random() % 50 == 0)) live.push_back({manager.NewSequence(), {}});
    Live& sequence = live[random() % live.size()];
    const int64_t layer = static_cast<int64_t>(random() % 2);
    switch (random() % 8) {
      case 0:
      case 1:
      case 2: {
        std::vector<uint8_t> experts(random() % 9);
        for (uint8_t& expert : experts) expert = static_cast<uint8_t>(random() % 2 == 0 ? 0 : random() % 3);
        if (static_cast<int64_t>(experts.size()) > manager.free_pages()) break;
        for (size_t i = 0; i < experts.size(); ++i) sequence.marks[layer].push_back(cache.next_mark + i);
        cache.Append(*sequence.kv, layer, experts);
        break;
      }
      case 3:
      case 4:
      case 5: {
        const int from = static_cast<int>(random() % 2), to = from + 1 + static_cast<int>(random() % (2 - from));
        const int64_t pages = sequence.kv->num_pages(layer, from);
        if (pages == 0) break;
        const int64_t used = manager.used_pages();
        const int64_t gave = cache.Regroup(*sequence.kv, layer, from, static_cast<int64_t>(random() % pages), to);
        ASSERT_EQ(used - manager.used_pages(), gave);
        freed += gave;
        ++regrouped;
        break;
      }
      case 6:
        if (random() % 4 == 0) {
          cache.Shrink(manager.used_pages() + static_cast<int64_t>(random() % (manager.free_pages() + 1)));
          ++shrinks;
        } else if (manager.num_pages() < 60) {
          const int64_t pages = manager.num_pages() + static_cast<int64_t>(random() % 20);
          ASSERT_TRUE(cache.store.Resize(pages).ok());
          manager.Grow(pages);
        }
        break;
      case 7:
        if (random() % 20 != 0) break;
        std::swap(sequence, live.back());
        live.pop_back();
        break;
    }
    manager.CheckInvariants();
    for (const Live& one : live) {
      for (int64_t l = 0; l < 2; ++l) ASSERT_EQ(cache.SortedMarks(*one.kv, l), one.marks[l]) << "step " << step;
    }
  }
  EXPECT_GT(freed, 500);
  EXPECT_GT(regrouped, freed + 500);
  EXPECT_GT(shrinks, 100);
  live.clear();
  EXPECT_EQ(manager.used_pages(), 0);
  manager.CheckInvariants();
}

}  // namespace
}  // namespace ration
