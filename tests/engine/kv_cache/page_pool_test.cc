#include "engine/kv_cache/page_pool.h"

#include <algorithm>
#include <numeric>
#include <random>

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

}  // namespace
}  // namespace ration
