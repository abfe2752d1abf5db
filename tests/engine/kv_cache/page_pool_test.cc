#include "engine/kv_cache/page_pool.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ration {
namespace {

TEST(PagePool, HandsOutEveryPageOnceAndNoMore) {
  PagePool pool(5);
  std::vector<int32_t> pages = {-7};  // what is there stays
  EXPECT_TRUE(pool.TryAllocate(3, pages));
  EXPECT_EQ(pages, (std::vector<int32_t>{-7, 0, 1, 2}));
  EXPECT_EQ(pool.num_used_pages(), 3);
  EXPECT_FALSE(pool.TryAllocate(3, pages));
  EXPECT_EQ(pages.size(), 4u);
  EXPECT_EQ(pool.num_free_pages(), 2);
  EXPECT_TRUE(pool.TryAllocate(2, pages));
  EXPECT_TRUE(pool.TryAllocate(0, pages));
  EXPECT_FALSE(pool.TryAllocate(1, pages));
  pool.CheckInvariants();
}

TEST(PagePool, TheLastReleaseFreesAndIsReusedFirst) {
  PagePool pool(4);
  std::vector<int32_t> pages;
  ASSERT_TRUE(pool.TryAllocate(3, pages));
  pool.AddReference(1);
  EXPECT_EQ(pool.references(1), 2);
  pool.Release(1);
  EXPECT_EQ(pool.num_free_pages(), 1);
  pool.Release(1);
  EXPECT_EQ(pool.num_free_pages(), 2);
  EXPECT_EQ(pool.references(1), 0);
  pages.clear();
  ASSERT_TRUE(pool.TryAllocate(1, pages));
  EXPECT_EQ(pages[0], 1);
  pool.CheckInvariants();
}

TEST(PagePool, AnEmptyPoolHasNothing) {
  PagePool pool(0);
  std::vector<int32_t> pages;
  EXPECT_TRUE(pool.TryAllocate(0, pages));
  EXPECT_FALSE(pool.TryAllocate(1, pages));
  pool.CheckInvariants();
}

TEST(PagePoolDeathTest, MisuseDies) {
  PagePool pool(2);
  EXPECT_DEATH(pool.Release(0), "references_");
  EXPECT_DEATH(pool.AddReference(1), "references_");
  EXPECT_DEATH(pool.Release(2), "num_pages");
  EXPECT_DEATH(PagePool(-1), "num_pages");
}

TEST(PagePool, RandomUseNeverSharesOrLosesAPage) {
  std::mt19937 random(3);
  PagePool pool(50);
  std::vector<int32_t> references(50, 0);  // the model of the pool
  for (int step = 0; step < 20000; ++step) {
    const int32_t page = static_cast<int32_t>(random() % 50);
    const int64_t live = 50 - std::count(references.begin(), references.end(), 0);
    switch (random() % 3) {
      case 0: {
        const int64_t count = static_cast<int64_t>(random() % 8);
        std::vector<int32_t> pages;
        ASSERT_EQ(pool.TryAllocate(count, pages), count <= 50 - live);
        for (int32_t p : pages) {
          ASSERT_EQ(references[p], 0);
          references[p] = 1;
        }
        break;
      }
      case 1:
        if (references[page] > 0) {
          pool.AddReference(page);
          ++references[page];
        }
        break;
      case 2:
        if (references[page] > 0) {
          pool.Release(page);
          --references[page];
        }
        break;
    }
    ASSERT_EQ(pool.num_free_pages(), std::count(references.begin(), references.end(), 0));
    if (step % 100 == 0) pool.CheckInvariants();
  }
  for (int32_t p = 0; p < 50; ++p) EXPECT_EQ(pool.references(p), references[p]);
}

TEST(PagePool, GrowAddsFreshPagesThatAreTakenLast) {
  PagePool pool(3);
  std::vector<int32_t> pages;
  ASSERT_TRUE(pool.TryAllocate(3, pages));
  pool.Release(1);
  pool.Grow(6);
  EXPECT_EQ(pool.num_pages(), 6);
  EXPECT_EQ(pool.num_free_pages(), 4);
  EXPECT_EQ(pool.references(0), 1);
  pages.clear();
  ASSERT_TRUE(pool.TryAllocate(4, pages));
  EXPECT_EQ(pages, (std::vector<int32_t>{1, 3, 4, 5}));
  pool.Grow(6);
  EXPECT_EQ(pool.num_free_pages(), 0);
  pool.CheckInvariants();
}

TEST(PagePool, ShrinkToTheUsedCountMovesLiveIdsWithTheirReferences) {
  PagePool pool(6);
  std::vector<int32_t> pages;
  ASSERT_TRUE(pool.TryAllocate(6, pages));
  pool.AddReference(5);
  pool.AddReference(5);
  pool.AddReference(0);
  pool.Release(1);
  pool.Release(2);
  std::vector<PageMove> moved = {{-7, -8}};  // what is there stays
  pool.Shrink(4, moved);
  pool.CheckInvariants();
  EXPECT_EQ(pool.num_pages(), 4);
  EXPECT_EQ(pool.num_free_pages(), 0);
  ASSERT_EQ(moved.size(), 3u);
  EXPECT_EQ(moved[0].from, -7);
  EXPECT_EQ(moved[1].from, 4);
  EXPECT_EQ(moved[2].from, 5);
  EXPECT_EQ(std::min(moved[1].to, moved[2].to), 1);
  EXPECT_EQ(std::max(moved[1].to, moved[2].to), 2);
  EXPECT_EQ(pool.references(moved[1].to), 1);
  EXPECT_EQ(pool.references(moved[2].to), 3);
  EXPECT_EQ(pool.references(0), 2);
  EXPECT_EQ(pool.references(3), 1);
}

TEST(PagePool, ShrinkMovesNothingWhoseIdStays) {
  PagePool pool(8);
  std::vector<int32_t> pages;
  ASSERT_TRUE(pool.TryAllocate(3, pages));
  std::vector<PageMove> moved;
  pool.Shrink(3, moved);
  EXPECT_TRUE(moved.empty());
  EXPECT_EQ(pool.num_free_pages(), 0);
  for (int32_t page : pages) pool.Release(page);
  pool.Shrink(0, moved);
  EXPECT_TRUE(moved.empty());
  EXPECT_FALSE(pool.TryAllocate(1, pages));
  pool.CheckInvariants();
}

TEST(PagePoolDeathTest, ASizeThatDoesNotFitDies) {
  PagePool pool(4);
  std::vector<int32_t> pages;
  std::vector<PageMove> moved;
  ASSERT_TRUE(pool.TryAllocate(3, pages));
  EXPECT_DEATH(pool.Shrink(2, moved), "num_used_pages");
  EXPECT_DEATH(pool.Shrink(5, moved), "num_pages");
  EXPECT_DEATH(pool.Grow(3), "num_pages");
}

TEST(PagePool, RandomSizesNeverLoseAPage) {
  std::mt19937 random(11);
  PagePool pool(40);
  std::vector<int32_t> owners(40, 0);      // the model of the pool: who has a page, 0 for nobody
  std::vector<int32_t> references(40, 0);
  int32_t next_owner = 1;
  int64_t moves = 0;
  for (int step = 0; step < 20000; ++step) {
    const int64_t size = static_cast<int64_t>(owners.size());
    const int64_t free = std::count(owners.begin(), owners.end(), 0);
    const int32_t page = size == 0 ? 0 : static_cast<int32_t>(random() % size);
    const uint32_t action = random() % 8;
    if (action < 3) {
      std::vector<int32_t> pages;
      const int64_t count = static_cast<int64_t>(random() % 6);
      ASSERT_EQ(pool.TryAllocate(count, pages), count <= free);
      for (int32_t p : pages) {
        ASSERT_LT(p, size);
        ASSERT_EQ(owners[p], 0);
        owners[p] = next_owner++;
        references[p] = 1;
      }
    } else if (action < 6) {
      if (size == 0 || owners[page] == 0) continue;
      if (random() % 4 == 0) {
        pool.AddReference(page);
        ++references[page];
      } else {
        pool.Release(page);
        if (--references[page] == 0) owners[page] = 0;
      }
    } else if (action == 6) {
      const int64_t to = size + static_cast<int64_t>(random() % 10);
      if (to > 80) continue;
      pool.Grow(to);
      owners.resize(to, 0);
      references.resize(to, 0);
    } else {
      const int64_t to = size - static_cast<int64_t>(random() % (free + 1));
      std::vector<PageMove> moved;
      pool.Shrink(to, moved);
      for (const PageMove& move : moved) {
        ASSERT_GE(move.from, to);
        ASSERT_LT(move.to, to);
        ASSERT_NE(owners[move.from], 0);
        ASSERT_EQ(owners[move.to], 0);
        owners[move.to] = std::exchange(owners[move.from], 0);
        references[move.to] = std::exchange(references[move.from], 0);
        ++moves;
      }
      for (int64_t gone = to; gone < size; ++gone) ASSERT_EQ(owners[gone], 0) << "lost";
      owners.resize(to);
      references.resize(to);
    }
    ASSERT_EQ(pool.num_pages(), static_cast<int64_t>(owners.size()));
    ASSERT_EQ(pool.num_free_pages(), std::count(owners.begin(), owners.end(), 0));
    for (size_t p = 0; p < owners.size(); ++p) ASSERT_EQ(pool.references(static_cast<int32_t>(p)), references[p]);
    pool.CheckInvariants();
  }
  EXPECT_GT(moves, 100);
}

}  // namespace
}  // namespace ration
