#include "engine/sampling/stop_checker.h"

#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ration {
namespace {

StoppingParams Stops(std::vector<std::string> strings, bool include = false) {
  StoppingParams params;
  params.stop_strings = std::move(strings);
  params.include_stop_string = include;
  return params;
}

struct Outcome {
  std::vector<std::string> shown;  // of each piece, then what Flush gave
  std::string text;
  std::optional<std::string> matched;
};

Outcome Feed(const StoppingParams& params, const std::vector<std::string>& pieces) {
  StopChecker checker(params, {});
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.shown.push_back(checker.Append(piece, true));
  outcome.shown.push_back(checker.Flush());
  for (const std::string& shown : outcome.shown) outcome.text += shown;
  outcome.matched = checker.matched();
  return outcome;
}

TEST(StopCheckerTest, WithoutStopStringsTextPassesAtOnce) {
  const Outcome outcome = Feed(Stops({}), {"Once ", "upon", "", " a time"});
  EXPECT_EQ(outcome.shown, (std::vector<std::string>{"Once ", "upon", "", " a time", ""}));
  EXPECT_FALSE(outcome.matched.has_value());
}

TEST(StopCheckerTest, StopStringInsideOnePieceCutsTheText) {
  const Outcome outcome = Feed(Stops({"END"}), {"abcENDdef", "more"});
  EXPECT_EQ(outcome.text, "abc");
  EXPECT_EQ(outcome.matched, "END");
}

TEST(StopCheckerTest, StopStringSplitOverPiecesIsNeverShown) {
  const Outcome outcome = Feed(Stops({"\n\nUser:"}), {"Hello.\n", "\nUs", "er", ": hi"});
  EXPECT_EQ(outcome.shown, (std::vector<std::string>{"Hello.", "", "", "", ""}));
  EXPECT_EQ(outcome.matched, "\n\nUser:");
}

TEST(StopCheckerTest, HeldTextIsReleasedAsSoonAsItCannotMatch) {
  const Outcome outcome = Feed(Stops({"STOP"}), {"a ST", "O", "X", "S"});
  EXPECT_EQ(outcome.shown, (std::vector<std::string>{"a ", "", "STOX", "", "S"}));
  EXPECT_FALSE(outcome.matched.has_value());
}

TEST(StopCheckerTest, OnlyTheLongestPossibleBeginningIsHeldBack) {
  // After "aab" of "aabaaa", one more "a" keeps the partial match; "aabaab" falls back to "aab".
  const Outcome outcome = Feed(Stops({"aabaaa"}), {"aabaa", "b", "aaa"});
  EXPECT_EQ(outcome.shown, (std::vector<std::string>{"", "aab", "", ""}));
  EXPECT_EQ(outcome.matched, "aabaaa");
}

TEST(StopCheckerTest, StopStringCanBeIncluded) {
  const Outcome outcome = Feed(Stops({"</s>"}, true), {"story<", "/s", "> tail"});
  EXPECT_EQ(outcome.text, "story</s>");
  EXPECT_EQ(outcome.matched, "</s>");
}

TEST(StopCheckerTest, MatchThatEndsFirstWins) {
  const Outcome outcome = Feed(Stops({"abcd", "bc"}), {"xabcdy"});
  EXPECT_EQ(outcome.matched, "bc");
  EXPECT_EQ(outcome.text, "xa");
}

TEST(StopCheckerTest, OfMatchesThatEndTogetherTheLongestWins) {
  for (const auto& strings : {std::vector<std::string>{"cd", "abcd", "d"}, std::vector<std::string>{"abcd", "d", "cd"}}) {
    const Outcome outcome = Feed(Stops(strings), {"xabcdy"});
    EXPECT_EQ(outcome.matched, "abcd");
    EXPECT_EQ(outcome.text, "x");
  }
}

TEST(StopCheckerTest, MatchBeforeTheMinimumIsTextAndDoesNotMatchLater) {
  StopChecker checker(Stops({"ab"}), {});
  EXPECT_EQ(checker.Append("xab", false), "xab");
  EXPECT_EQ(checker.Append("c", true), "c");
  EXPECT_FALSE(checker.matched().has_value());
  EXPECT_EQ(checker.Append("a", false), "");
  EXPECT_EQ(checker.Append("b", true), "");  // it ends in a token that counts
  EXPECT_EQ(checker.matched(), "ab");
}

TEST(StopCheckerTest, OverlappingMatchAfterOneThatDidNotCountIsFound) {
  StopChecker checker(Stops({"aa"}), {});
  EXPECT_EQ(checker.Append("aa", false), "a");  // the second may begin a match that counts
  EXPECT_EQ(checker.Append("a", true), "");
  EXPECT_EQ(checker.matched(), "aa");
}

TEST(StopCheckerTest, NothingFollowsAMatch) {
  StopChecker checker(Stops({"."}), {});
  EXPECT_EQ(checker.Append("a.b", true), "a");
  EXPECT_EQ(checker.Append("c.d", true), "");
  EXPECT_EQ(checker.Flush(), "");
}

TEST(StopCheckerTest, StopStringsOfSeveralByteCharactersMatchAcrossPieces) {
  // The second character of the stop string arrives in two halves; "é" shares its first byte with "ë".
  const Outcome outcome = Feed(Stops({"fin\xC3\xA9"}), {"le fin\xC3", "\xAB, la fin\xC3", "\xA9!"});
  EXPECT_EQ(outcome.shown, (std::vector<std::string>{"le ", "fin\xC3\xAB, la ", "", ""}));
  EXPECT_EQ(outcome.matched, "fin\xC3\xA9");
}

TEST(StopCheckerTest, HalfACharacterIsHeldBackAndReplacedAtTheEnd) {
  const Outcome outcome = Feed(Stops({"zzz"}), {"smile \xF0\x9F", "\x98", "\x80 ok \xE2\x82"});
  EXPECT_EQ(outcome.shown, (std::vector<std::string>{"smile ", "", "\xF0\x9F\x98\x80 ok ", "\xEF\xBF\xBD"}));
}

TEST(StopCheckerTest, TokensStopAndAreForbiddenBeforeTheMinimum) {
  StoppingParams params;
  params.min_new_tokens = 3;
  params.stop_token_ids = {9, 4, 9};
  const StopChecker checker(params, {2, 4});
  EXPECT_EQ(checker.ForbiddenTokens(0), (std::vector<int32_t>{2, 4, 9}));
  EXPECT_EQ(checker.ForbiddenTokens(2), (std::vector<int32_t>{2, 4, 9}));
  EXPECT_TRUE(checker.ForbiddenTokens(3).empty());
  EXPECT_TRUE(checker.IsStopToken(2));
  EXPECT_TRUE(checker.IsStopToken(9));
  EXPECT_FALSE(checker.IsStopToken(3));
}

TEST(StopCheckerTest, IgnoringEndOfTextKeepsStopTokens) {
  StoppingParams params;
  params.min_new_tokens = 1;
  params.stop_token_ids = {9};
  params.ignore_eos = true;
  const StopChecker checker(params, {2});
  EXPECT_FALSE(checker.IsStopToken(2));
  EXPECT_TRUE(checker.IsStopToken(9));
  EXPECT_EQ(checker.ForbiddenTokens(0), (std::vector<int32_t>{9}));
}

// Random texts over a small alphabet, cut in random places: the same result as a plain search of the whole text, and at every
// moment nothing is held back that could have been shown.
TEST(StopCheckerTest, EqualsAPlainSearchHoweverTheTextIsCut) {
  std::mt19937 random(17);
  const auto word = [&](int max_length) {
    std::string text(1 + random() % max_length, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (unsigned i = 0; i <= random() % 3; ++i) stops.push_back(word(6));
    const std::string text = word(20);
    size_t end = std::string::npos;
    std::string expected_match;
    for (size_t e = 1; e <= text.size() && end == std::string::npos; ++e) {
      for (const std::string& stop : stops) {
        if (e < stop.size() || text.compare(e - stop.size(), stop.size(), stop) != 0) continue;
        end = e;
        if (stop.size() > expected_match.size()) expected_match = stop;
      }
    }
    StopChecker checker(Stops(stops), {});
    std::string shown;
    for (size_t begin = 0; begin < text.size() && !checker.matched().has_value();) {
      const size_t length = std::min<size_t>(random() % 4, text.size() - begin);
      shown += checker.Append(text.substr(begin, length), true);
      begin += length;
      if (checker.matched().has_value()) break;
      size_t hold = 0;  // the longest end of the text so far that begins a stop string
      const std::string so_far = text.substr(0, begin);
      for (const std::string& stop : stops) {
        for (size_t l = 1; l < stop.size() && l <= so_far.size(); ++l) {
          if (so_far.compare(so_far.size() - l, l, stop, 0, l) == 0) hold = std::max(hold, l);
        }
      }
      ASSERT_EQ(shown, so_far.substr(0, so_far.size() - hold));
    }
    shown += checker.Flush();
    if (end == std::string::npos) {
      ASSERT_FALSE(checker.matched().has_value());
      ASSERT_EQ(shown, text);
    } else {
      ASSERT_EQ(checker.matched(), expected_match);
      ASSERT_EQ(shown, text.substr(0, end - expected_match.size()));
    }
  }
}

}  // namespace
}  // namespace ration
