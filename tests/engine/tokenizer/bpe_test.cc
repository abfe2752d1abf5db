// Tests engine/tokenizer/bpe.cc.
#include "engine/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

using Tokens = std::vector<std::string>;

class Fixture {
 public:
  Fixture(const Tokens& tokens, const std::vector<std::pair<std::string, std::string>>& merges,
          BpeModel::Options options = {})
      : model_(Make(tokens, merges, options)) {}

  Tokens Encode(const std::string& word) const {
    std::vector<int32_t> ids;
    model_.Encode(word, cache_, ids);
    Tokens result;
    for (int32_t id : ids) result.emplace_back(model_.vocabulary().Token(id));
    return result;
  }

 private:
  static BpeModel Make(const Tokens& tokens, const std::vector<std::pair<std::string, std::string>>& merges,
                       BpeModel::Options options) {
    Vocabulary vocabulary(std::vector<std::optional<std::string>>(tokens.begin(), tokens.end()));
    std::vector<BpeModel::Merge> ids;
    for (const auto& [left, right] : merges) {
      ids.push_back({vocabulary.Find(left), vocabulary.Find(right), vocabulary.Find(absl::StrCat(left, right)),
                     static_cast<int32_t>(ids.size())});
    }
    return BpeModel(std::move(vocabulary), ids, options);
  }

  BpeModel model_;
  mutable BpeModel::Cache cache_;  // of all words of the fixture
};

TEST(BpeTest, LowerRankGoesFirstWhereverItStands) {
  const Fixture bpe({"a", "b", "c", "ab", "bc"}, {{"b", "c"}, {"a", "b"}});
  EXPECT_EQ(bpe.Encode("abc"), Tokens({"a", "bc"}));
  EXPECT_EQ(bpe.Encode("abab"), Tokens({"ab", "ab"}));
}

TEST(BpeTest, EqualRanksGoFromTheLeft) {
  const Fixture bpe({"a", "aa", "aaa"}, {{"a", "a"}, {"aa", "a"}});
  EXPECT_EQ(bpe.Encode("aaaa"), Tokens({"aa", "aa"}));
  EXPECT_EQ(bpe.Encode("aaaaa"), Tokens({"aa", "aaa"}));
}

TEST(BpeTest, CharacterWithoutTokenBecomesItsBytes) {
  const Fixture bpe({"a", "<0xC3>", "<0xA9>", "<unk>"}, {}, {/*unk_id=*/3, /*byte_fallback=*/true});
  EXPECT_EQ(bpe.Encode("a\u00e9a"), Tokens({"a", "<0xC3>", "<0xA9>", "a"}));
  EXPECT_EQ(bpe.Encode("\u00e8"), Tokens({"<unk>"})) << "one of its bytes has no token";
}

TEST(BpeTest, BytePiecesMayMerge) {
  const Fixture bpe({"<0xC3>", "<0xA9>", "<0xC3><0xA9>"}, {{"<0xC3>", "<0xA9>"}}, {-1, true});
  EXPECT_EQ(bpe.Encode("\u00e9"), Tokens({"<0xC3><0xA9>"}));
}

TEST(BpeTest, UnknownCharactersFuseOnlyWhenAsked) {
  EXPECT_EQ(Fixture({"a", "?"}, {}, {1, false, /*fuse_unk=*/false}).Encode("xyaz"), Tokens({"?", "?", "a", "?"}));
  EXPECT_EQ(Fixture({"a", "?"}, {}, {1, false, /*fuse_unk=*/true}).Encode("xyaz"), Tokens({"?", "a", "?"}));
}

TEST(BpeTest, UnknownWaitsBehindBytesAsInTheOriginal) {
  const Fixture bpe({"a", "?", "<0x62>"}, {}, {1, true});
  EXPECT_EQ(bpe.Encode("xba"), Tokens({"<0x62>", "?", "a"}));
}

TEST(BpeTest, WithoutUnkUnknownCharactersVanish) { EXPECT_EQ(Fixture({"a"}, {}).Encode("xaya"), Tokens({"a", "a"})); }

TEST(BpeTest, IgnoreMergesTakesAWholeWord) {
  EXPECT_EQ(Fixture({"a", "b", "ab"}, {}, {-1, false, false, /*ignore_merges=*/true}).Encode("ab"), Tokens({"ab"}));
  EXPECT_EQ(Fixture({"a", "b", "ab"}, {}).Encode("ab"), Tokens({"a", "b"}));
}

TEST(BpeTest, EmptyWordHasNoTokens) { EXPECT_EQ(Fixture({"a"}, {}).Encode(""), Tokens()); }

// The definition, in quadratic time: join the leftmost pair of the lowest rank until none is left.
Tokens Simple(const std::string& word, const std::vector<std::pair<std::string, std::string>>& merges) {
  Tokens symbols;
  for (char c : word) symbols.emplace_back(1, c);
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[merges[i]] = i;
  while (true) {
    size_t best = merges.size(), where = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto it = ranks.find({symbols[i], symbols[i + 1]});
      if (it != ranks.end() && it->second < best) {
        best = it->second;
        where = i;
      }
    }
    if (best == merges.size()) return symbols;
    symbols[where] += symbols[where + 1];
    symbols.erase(symbols.begin() + static_cast<int64_t>(where) + 1);
  }
}

TEST(BpeTest, AgreesWithTheDefinitionOnRandomMerges) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    Tokens tokens = {"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    for (int i = 0; i < 12; ++i) {
      const std::string left = tokens[random() % tokens.size()], right = tokens[random() % tokens.size()];
      const std::string merged = left + right;
      // One way to make each token: the definition's leftmost pair is then the original's too.
      if (std::find(tokens.begin(), tokens.end(), merged) != tokens.end()) continue;
      tokens.push_back(merged);
      merges.emplace_back(left, right);
    }
    const Fixture bpe(tokens, merges);
    for (int k = 0; k < 5; ++k) {
      std::string word;
      // Short and long: both ways of merging, the cache, and words that are cut.
      for (size_t i = random() % (k < 3 ? 40 : 300); i > 0; --i) word += "abc"[random() % 3];
      EXPECT_EQ(bpe.Encode(word), Simple(word, merges)) << word;
    }
  }
}

TEST(BpeTest, AMegabyteOfOneLetterIsQuick) {
  Tokens tokens = {"a"};
  std::vector<std::pair<std::string, std::string>> merges;
  for (int i = 0; i < 6; ++i) {
    merges.emplace_back(tokens.back(), tokens.back());
    tokens.push_back(tokens.back() + tokens.back());
  }
  const Fixture bpe(tokens, merges);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(bpe.Encode(std::string(1 << 20, 'a')).size(), (1 << 20) / 64);
  // Quadratic time would be minutes. The bound leaves room for sanitisers and a busy machine.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace ration
