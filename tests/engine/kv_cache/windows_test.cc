// Layers with a sliding window: pages whose tokens no later token sees are freed, and only those, also after regrouping has mixed
// their order.
#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/kv_cache/kv_cache_manager.h"
#include "tests/testing/fake_kv_store.h"

namespace ration {
namespace {

using kernels::KvSlot;
using testing::FakeKvStore;

constexpr int64_t kWindow = 10;

// Layer 0 has a window, layer 1 has none; 2, 4 and 8 slots a page.
KvCacheSpec WindowSpec() {
  KvCacheSpec::Options options;
  options.num_layers = 2;
  options.num_kv_heads = 4;
  options.head_dim = 8;
  options.experts = *ExpertSpec::Create({1, 2, 4}, 4);
  options.page_bytes = 512;
  options.windows = {kWindow, 0};
  return *KvCacheSpec::Create(options);
}

// Tokens that leave their position, plus 1, as a mark in each layer.
struct WindowCache {
  WindowCache() : manager(WindowSpec(), 400), store(manager.spec().layout(), 400), sequence(manager.NewSequence()) {}

  void Append(const std::vector<uint8_t>& experts) {
    std::vector<KvSlot> slots(experts.size());
    for (int64_t layer = 0; layer < 2; ++layer) {
      manager.Append(*sequence, layer, next, experts, {}, absl::MakeSpan(slots));
      for (size_t i = 0; i < slots.size(); ++i) store.Write(slots[i], static_cast<uint64_t>(next) + i + 1);
    }
    next += static_cast<int64_t>(experts.size());
  }
  void Regroup(int64_t layer, int from, int64_t index, int to) {
    RegroupMoves moves;
    manager.RegroupPage(*sequence, layer, from, index, to, moves.moves);
    moves.CloseChain();
    store.Regroup(moves);
  }
  // Of the tokens in a layer, ascending; checks that the books' positions are those of the tokens in the slots.
  std::vector<int64_t> Positions(int64_t layer) const {
    std::vector<int64_t> positions;
    const kernels::PagedKvView view = sequence->View(layer);
    for (int e = 0; e < 3; ++e) {
      const int32_t slots = store.slots_per_page(e);
      for (int32_t s = 0; s < view.experts[e].num_slots; ++s) {
        const auto mark = static_cast<int64_t>(store.Read({view.experts[e].pages[s / slots], s % slots, e}));
        if (layer == 0) {
          EXPECT_EQ(view.experts[e].positions[s], mark - 1) << "expert " << e << " slot " << s;
        }
        positions.push_back(mark - 1);
      }
    }
    std::sort(positions.begin(), positions.end());
    return positions;
  }

  KvCacheManager manager;
  FakeKvStore store;
  std::unique_ptr<SequenceKv> sequence;
  int64_t next = 0;
};

std::vector<int64_t> Range(int64_t begin, int64_t end) {
  std::vector<int64_t> range;
  for (int64_t i = begin; i < end; ++i) range.push_back(i);
  return range;
}

TEST(Windows, PagesAreFreedOnceTheirNewestTokenIsOutOfSight) {
  WindowCache cache;
  cache.Append(std::vector<uint8_t>(20, 0));  // pages of two: (0, 1), (2, 3), ...
  cache.manager.FreeExpired(*cache.sequence, 11);  // token 11 sees 2 .. 11
  EXPECT_EQ(cache.Positions(0), Range(2, 20));
  cache.manager.FreeExpired(*cache.sequence, 12);  // token 12 sees 3 .. 12: the page of 2 and 3 stays
  EXPECT_EQ(cache.Positions(0), Range(2, 20));
  cache.manager.FreeExpired(*cache.sequence, 20);
  EXPECT_EQ(cache.Positions(0), Range(10, 20));
  EXPECT_EQ(cache.Positions(1), Range(0, 20));
  EXPECT_EQ(cache.sequence->View(0).experts[0].num_gone, 10);
  EXPECT_EQ(cache.sequence->expired_token_layers(), 10);
  EXPECT_EQ(cache.sequence->pages_held(), 15);
  EXPECT_EQ(cache.manager.used_pages(), 15);
  EXPECT_EQ(cache.sequence->stored_bytes(), 30 * cache.manager.spec().bytes_per_token_layer(0));
  cache.manager.CheckInvariants();
}

TEST(Windows, AnExpertOfWhichEverythingIsGoneStartsAnew) {
  WindowCache cache;
  cache.Append({2, 2, 2});
  cache.Append(std::vector<uint8_t>(30, 0));
  cache.manager.FreeExpired(*cache.sequence, cache.next);
  EXPECT_EQ(cache.sequence->num_tokens(0, 2), 0);
  EXPECT_EQ(cache.sequence->View(0).experts[2].num_gone, 3);
  cache.Append({2});
  EXPECT_EQ(cache.sequence->num_tokens(0, 2), 1);
  EXPECT_EQ(cache.Positions(0).back(), 33);
  cache.manager.CheckInvariants();
}

TEST(Windows, RegroupedTokensStayUntilTheyAreOutOfSight) {
  WindowCache cache;
  cache.Append({0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1});
  // An old page behind younger tokens: (0, 1) moves into the tail of expert 1, whose first page holds 2, 3, 6, 7.
  cache.Regroup(0, 0, 0, 1);
  EXPECT_EQ(cache.Positions(0), Range(0, 12));
  cache.manager.CheckInvariants();
  cache.manager.FreeExpired(*cache.sequence, 17);  // sees 8 and later: (4, 5) of expert 0 and (2, 3, 6, 7) go
  EXPECT_EQ(cache.Positions(0), (std::vector<int64_t>{0, 1, 8, 9, 10, 11}));
  cache.manager.CheckInvariants();
}

TEST(Windows, NoTokenInSightIsEverLost) {
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    WindowCache cache;
    for (int step = 0; step < 60; ++step) {
      std::vector<uint8_t> experts(1 + random() % 6);
      for (uint8_t& expert : experts) expert = static_cast<uint8_t>(random() % 3);
      cache.Append(experts);
      cache.manager.FreeExpired(*cache.sequence, cache.next);
      const int64_t layer = random() % 2;
      const int from = static_cast<int>(random() % 2);
      if (const int64_t pages = cache.sequence->num_pages(layer, from); random() % 3 == 0 && pages > 0) {
        cache.Regroup(layer, from, static_cast<int64_t>(random() % pages), from + 1 + static_cast<int>(random() % (2 - from)));
      }
      cache.manager.CheckInvariants();
      const std::vector<int64_t> held = cache.Positions(0);
      for (int64_t p = std::max<int64_t>(0, cache.next - kWindow + 1); p < cache.next; ++p) {
        ASSERT_TRUE(std::binary_search(held.begin(), held.end(), p)) << p << " of " << cache.next;
      }
      ASSERT_EQ(cache.Positions(1), Range(0, cache.next));
    }
    EXPECT_GT(cache.sequence->expired_token_layers(), 0);
  }
}

TEST(Windows, AreCountedInWhatASequenceTakes) {
  const KvCacheSpec spec = WindowSpec();
  const int64_t token = spec.bytes_per_token_layer(1);
  EXPECT_EQ(spec.SequenceBytes(1, 4), 8 * token);
  EXPECT_EQ(spec.SequenceBytes(1, 100), 110 * token);
}

TEST(Windows, MustNameEveryLayer) {
  KvCacheSpec::Options options;
  options.num_layers = 2;
  options.num_kv_heads = 1;
  options.head_dim = 8;
  options.windows = {4};
  EXPECT_EQ(KvCacheSpec::Create(options).status().message(), "KV cache: windows must name 2 layers or none, not 1");
  options.windows = {4, -1};
  EXPECT_EQ(KvCacheSpec::Create(options).status().message(), "KV cache: a window must be at least 0, not -1");
}

}  // namespace
}  // namespace ration
