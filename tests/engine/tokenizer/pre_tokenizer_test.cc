// Tests engine/tokenizer/pre_tokenizer.cc, split_pre_tokenizer.cc and byte_level.cc. The expected words are Hugging Face's.
#include "engine/tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/split_pre_tokenizer.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

using Behavior = SplitPreTokenizer::Behavior;
using Words = std::vector<std::string>;

Words Split(const PreTokenizer& pre_tokenizer, const std::string& text) {
  Words words;
  RegexBudget budget;
  const absl::Status status = pre_tokenizer.Split(text, true, budget, [&](absl::string_view word, bool at_text_start) {
    EXPECT_EQ(at_text_start, words.empty() && text.compare(0, word.size(), std::string(word)) == 0) << text;
    words.emplace_back(word);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return words;
}

Regex MustCompile(const std::string& pattern) { return *Regex::Compile(pattern); }

TEST(SplitPreTokenizerTest, EachBehaviorPutsTheMatchesWhereItSays) {
  const std::pair<Behavior, Words> expected[] = {
      {Behavior::kRemoved, {"the", "final", "countdown"}},
      {Behavior::kIsolated, {"the", "-", "final", "-", "-", "countdown"}},
      {Behavior::kMergedWithPrevious, {"the-", "final-", "-", "countdown"}},
      {Behavior::kMergedWithNext, {"the", "-final", "-", "-countdown"}},
      {Behavior::kContiguous, {"the", "-", "final", "--", "countdown"}},
  };
  for (const auto& [behavior, words] : expected) {
    EXPECT_EQ(Split(SplitPreTokenizer(std::string("-"), behavior, false), "the-final--countdown"), words);
    EXPECT_EQ(Split(SplitPreTokenizer(MustCompile("[-]"), behavior, false), "the-final--countdown"), words);
    EXPECT_EQ(Split(SplitPreTokenizer(MustCompile("[^-]+"), behavior, true), "the-final-countdown"),
              Split(SplitPreTokenizer(std::string("-"), behavior, false), "the-final-countdown"));
  }
}

TEST(SplitPreTokenizerTest, MatchesAtTheEndsAndEmptyOnes) {
  EXPECT_EQ(Split(SplitPreTokenizer(std::string("-"), Behavior::kMergedWithPrevious, false), "-a-"),
            Words({"-", "a-"}));
  EXPECT_EQ(Split(SplitPreTokenizer(std::string("-"), Behavior::kMergedWithNext, false), "-a-"), Words({"-a", "-"}));
  EXPECT_EQ(Split(SplitPreTokenizer(std::string("-"), Behavior::kRemoved, false), "--"), Words());
  EXPECT_EQ(Split(SplitPreTokenizer(MustCompile("(?=b)"), Behavior::kIsolated, false), "abab"),
            Words({"a", "ba", "b"}));
  EXPECT_EQ(Split(SplitPreTokenizer(std::string("aa"), Behavior::kIsolated, false), "aaab"), Words({"aa", "ab"}));
}

TEST(SplitPreTokenizerTest, CharacterClasses) {
  EXPECT_EQ(Split(SplitPreTokenizer(&IsNumeric, Behavior::kIsolated, false), "a12\u00bdb\u0663"),
            Words({"a", "1", "2", "\u00bd", "b", "\u0663"}));
  EXPECT_EQ(Split(SplitPreTokenizer(&IsNumeric, Behavior::kContiguous, false), "a12\u00bdb"),
            Words({"a", "12\u00bd", "b"}));
  EXPECT_EQ(Split(SplitPreTokenizer(&IsPunctuation, Behavior::kIsolated, false), "a,$\u3002b"),
            Words({"a", ",", "$", "\u3002", "b"}));
  EXPECT_EQ(Split(SplitPreTokenizer(&IsWhiteSpace, Behavior::kRemoved, false), " a\u3000b\n"), Words({"a", "b"}));
}

// Bytes in the order of the alphabet: those that print, then the rest.
TEST(ByteLevelTest, EveryByteHasItsCharacter) {
  std::string all, expected_front = "\u0100\u0101";
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  std::string characters;
  AppendByteCharacters(all, characters);
  EXPECT_EQ(FindInvalidUtf8(characters), absl::string_view::npos);
  EXPECT_EQ(characters.substr(0, 4), expected_front);
  std::string back;
  AppendBytesOfToken(characters, back);
  EXPECT_EQ(back, all);
  characters.clear();
  AppendByteCharacters(" a\n\u00e9\x7f\xad", characters);
  EXPECT_EQ(characters, "\u0120a\u010a\u00c3\u00a9\u0121\u0143");
}

TEST(ByteLevelTest, ATokenOutsideTheAlphabetIsItsOwnBytes) {
  std::string bytes = "x";
  AppendBytesOfToken("\u0120a\u4e2d", bytes);
  EXPECT_EQ(bytes, "x\u0120a\u4e2d");
  bytes.clear();
  AppendBytesOfToken("a b", bytes);
  EXPECT_EQ(bytes, "a b") << "the space is not in the alphabet";
}

TEST(ByteLevelPreTokenizerTest, CutsAndMapsWords) {
  const auto words = [](bool add_prefix_space, bool use_regex, const std::string& text) {
    std::optional<Regex> regex;
    if (use_regex) regex = MustCompile(kGpt2WordRegex);
    Words result;
    RegexBudget budget;
    EXPECT_TRUE(ByteLevelPreTokenizer(add_prefix_space, std::move(regex))
                    .Split(text, true, budget,
                           [&](absl::string_view word, bool at_text_start) {
                             EXPECT_EQ(at_text_start, result.empty());
                             result.emplace_back(word);
                             return absl::OkStatus();
                           })
                    .ok());
    return result;
  };
  EXPECT_EQ(words(false, true, "I'll go  2nd"), Words({"I", "'ll", "\u0120go", "\u0120", "\u01202", "nd"}));
  EXPECT_EQ(words(true, true, "go"), Words({"\u0120go"}));
  EXPECT_EQ(words(true, true, " go"), Words({"\u0120go"})) << "not twice";
  EXPECT_EQ(words(false, false, "a b\n"), Words({"a\u0120b\u010a"}));
}

TEST(PreTokenizeTest, AChainCutsTheWordsOfTheStepBefore) {
  std::vector<std::unique_ptr<PreTokenizer>> chain;
  chain.push_back(std::make_unique<SplitPreTokenizer>(&IsNumeric, Behavior::kIsolated, false));
  chain.push_back(std::make_unique<ByteLevelPreTokenizer>(false, MustCompile(kGpt2WordRegex)));
  Words words;
  RegexBudget budget;
  EXPECT_TRUE(PreTokenize(chain, "a 12 b!", true, budget, [&](absl::string_view word, bool) {
                words.emplace_back(word);
                return absl::OkStatus();
              }).ok());
  EXPECT_EQ(words, Words({"a", "\u0120", "1", "2", "\u0120b", "!"}));
}

TEST(PreTokenizeTest, ASpentBudgetIsAnError) {
  std::vector<std::unique_ptr<PreTokenizer>> chain;
  chain.push_back(std::make_unique<ByteLevelPreTokenizer>(false, MustCompile(kGpt2WordRegex)));
  RegexBudget nothing(0);
  EXPECT_EQ(PreTokenize(chain, "a b", true, nothing, [](absl::string_view, bool) { return absl::OkStatus(); }).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace ration
