#include "tools/train/token_batches.h"

#include <set>
#include <string>

#include "gtest/gtest.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {
namespace {

TEST(SplitAndEncode, OpensEveryDocumentWithBosAndKeepsTheLastApart) {
  const auto tokenizer = MakeTinyTokenizer();
  std::string text;
  for (int i = 0; i < 10; ++i) text += "  story " + std::string(1, static_cast<char>('a' + i)) + "\n<|endoftext|>\n";
  const auto split = SplitAndEncode(text, *tokenizer, 0.1, 0.2);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ((split->train == kTinyBosId).sum().item<int64_t>(), 7);
  EXPECT_EQ((split->validation == kTinyBosId).sum().item<int64_t>(), 1);
  EXPECT_EQ((split->held_out == kTinyBosId).sum().item<int64_t>(), 2);
  EXPECT_EQ(split->train[0].item<int64_t>(), kTinyBosId);
  const auto last = tokenizer->Encode("story j", /*add_special_tokens=*/true);
  for (size_t i = 0; i < last->size(); ++i) {
    EXPECT_EQ(split->held_out[split->held_out.numel() - static_cast<int64_t>(last->size() - i)].item<int64_t>(),
              (*last)[i]);
  }
}

TEST(SplitAndEncode, RefusesEmptyText) {
  const auto tokenizer = MakeTinyTokenizer();
  EXPECT_FALSE(SplitAndEncode(" \n<|endoftext|> ", *tokenizer, 0, 0.1).ok());
}

TEST(SplitAndEncode, RefusesSharesThatAreNone) {
  const auto tokenizer = MakeTinyTokenizer();
  EXPECT_FALSE(SplitAndEncode("a story", *tokenizer, 0.6, 0.5).ok());
  EXPECT_FALSE(SplitAndEncode("a story", *tokenizer, -0.1, 0.5).ok());
}

TEST(TokenBatches, TakesEverySequenceOnceAnEpoch) {
  TokenBatches batches(at::arange(1005, at::kLong), 10, 1);
  std::set<int64_t> starts;
  for (int i = 0; i < 9; ++i) {
    const at::Tensor batch = batches.Next(11);
    ASSERT_EQ(batch.sizes(), (at::IntArrayRef{11, 11}));
    for (int b = 0; b < 11; ++b) {
      const int64_t start = batch[b][0].item<int64_t>();
      EXPECT_EQ(batch[b][10].item<int64_t>(), start + 10);
      EXPECT_TRUE(starts.insert(start).second) << start;
    }
  }
  EXPECT_NEAR(batches.epochs(), 0.985, 0.01);
}

TEST(TokenBatches, TakesWholeRowsOnceAnEpoch) {
  TokenBatches batches(at::arange(60, at::kLong).view({12, 5}), 1);
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::set<int64_t> starts;
    for (int i = 0; i < 4; ++i) {
      const at::Tensor batch = batches.Next(3);
      ASSERT_EQ(batch.sizes(), (at::IntArrayRef{3, 5}));
      for (int b = 0; b < 3; ++b) {
        const int64_t start = batch[b][0].item<int64_t>();
        EXPECT_EQ(start % 5, 0);
        EXPECT_TRUE(at::equal(batch[b], at::arange(start, start + 5, at::kLong)));
        EXPECT_TRUE(starts.insert(start).second) << start;
      }
    }
  }
}

TEST(Consecutive, CoversTheStreamWithoutOverlapOfTargets) {
  const at::Tensor all = Consecutive(at::arange(25, at::kLong), 8, 0);
  ASSERT_EQ(all.sizes(), (at::IntArrayRef{3, 9}));
  EXPECT_EQ(all[1][0].item<int64_t>(), 8);
  EXPECT_EQ(Consecutive(at::arange(25, at::kLong), 8, 2).size(0), 2);
  EXPECT_EQ(Consecutive(at::arange(5, at::kLong), 8, 0).size(0), 0);
}

}  // namespace
}  // namespace ration
