#include "client/flag_set.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

struct Values {
  bool greedy = false;
  bool stream = true;
  std::optional<bool> stats;
  std::string server = "here:1";
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<uint64_t> seed;
  std::optional<absl::Duration> time_limit;
  std::vector<std::string> stop;
  std::optional<std::vector<int32_t>> token_ids;
  std::vector<std::pair<int32_t, float>> logit_bias;
  FlagSet flags;

  Values() {
    flags.Section("General");
    flags.Add("server", "HOST:PORT", &server, "Where it listens.");
    flags.Add("greedy", &greedy, "Take the likeliest.");
    flags.Add("stream", &stream, "Text as it comes.");
    flags.Add("stats", &stats, "Show costs.");
    flags.Section("Numbers");
    flags.Add("temperature", "NUMBER", &temperature, "A number.");
    flags.Add("top_k", "COUNT", &top_k, "A count.");
    flags.Add("seed", "NUMBER", &seed, "A seed.");
    flags.Add("time_limit", "TIME", &time_limit, "A time.");
    flags.Add("stop", "TEXT", &stop, "A text.");
    flags.Add("token_ids", "IDS", &token_ids, "Ids.");
    flags.Add("logit_bias", "ID:NUMBER", &logit_bias, "Biases.");
  }
  std::string Error(const std::vector<std::string>& arguments) {
    return std::string(flags.Parse(arguments).status().message());
  }
};

TEST(FlagSetTest, ReadsEveryKindOfFlag) {
  Values v;
  const auto rest = v.flags.Parse({"--server=there:2", "--greedy", "--nostream", "--temperature", "0.5", "--top_k=40", "--seed",
                                   "18446744073709551615", "--time_limit=1.5s", "--stop=\n", "--stop", "END", "--token_ids=1,2 3",
                                   "--token_ids=4", "--logit_bias=5:-1.5,6:2", "--nostats"});
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_THAT(*rest, IsEmpty());
  EXPECT_EQ(v.server, "there:2");
  EXPECT_TRUE(v.greedy);
  EXPECT_FALSE(v.stream);
  EXPECT_EQ(v.stats, false);
  EXPECT_EQ(v.temperature, 0.5f);
  EXPECT_EQ(v.top_k, 40);
  EXPECT_EQ(v.seed, 18446744073709551615u);
  EXPECT_EQ(v.time_limit, absl::Milliseconds(1500));
  EXPECT_THAT(v.stop, ElementsAre("\n", "END"));
  EXPECT_THAT(*v.token_ids, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(v.logit_bias, ElementsAre(Pair(5, -1.5f), Pair(6, 2.0f)));
}

TEST(FlagSetTest, WithoutFlagsDefaultsStay) {
  Values v;
  const auto rest = v.flags.Parse({"some text"});
  ASSERT_TRUE(rest.ok());
  EXPECT_THAT(*rest, ElementsAre("some text"));
  EXPECT_EQ(v.server, "here:1");
  EXPECT_TRUE(v.stream);
  EXPECT_FALSE(v.stats.has_value());
  EXPECT_FALSE(v.token_ids.has_value());
}

TEST(FlagSetTest, FlagsAndArgumentsMayBeMixedAndDashesAreUnderscores) {
  Values v;
  const auto rest = v.flags.Parse({"a", "--top-k=3", "-", "--", "--greedy", "-x"});
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_THAT(*rest, ElementsAre("a", "-", "--greedy", "-x"));
  EXPECT_EQ(v.top_k, 3);
  EXPECT_FALSE(v.greedy);
}

TEST(FlagSetTest, SwitchTakesTrueAndFalse) {
  Values v;
  ASSERT_TRUE(v.flags.Parse({"--greedy=true", "--stream=false"}).ok());
  EXPECT_TRUE(v.greedy);
  EXPECT_FALSE(v.stream);
}

TEST(FlagSetTest, MistakesNameFlagAndValue) {
  Values v;
  EXPECT_EQ(v.Error({"--tpo_k=3"}), "unknown flag --tpo_k");
  EXPECT_EQ(v.Error({"--notop_k"}), "unknown flag --notop_k");
  EXPECT_THAT(v.Error({"-x"}), HasSubstr("unknown flag -x"));
  EXPECT_EQ(v.Error({"--top_k=four"}), "--top_k: must be a whole number, not \"four\"");
  EXPECT_EQ(v.Error({"--top_k=99999999999"}), "--top_k: must be a whole number, not \"99999999999\"");
  EXPECT_EQ(v.Error({"--seed=-1"}), "--seed: must be a whole number >= 0, not \"-1\"");
  EXPECT_EQ(v.Error({"--temperature="}), "--temperature: must be a number, not \"\"");
  EXPECT_EQ(v.Error({"--time_limit=10"}), "--time_limit: must be a time such as 500ms, 10s or 2m, not \"10\"");
  EXPECT_EQ(v.Error({"--token_ids=1,x"}), "--token_ids: must be token ids such as 1,403,407, not \"x\"");
  EXPECT_EQ(v.Error({"--logit_bias=7"}), "--logit_bias: must be ID:NUMBER, not \"7\"");
  EXPECT_EQ(v.Error({"--top_k"}), "--top_k: needs a value, --top_k=COUNT");
  EXPECT_EQ(v.Error({"--greedy=yes"}), "--greedy: takes no value; use --greedy or --nogreedy");
}

TEST(FlagSetTest, HelpListsEveryFlagUnderItsSection) {
  Values v;
  const std::string help = v.flags.Help(80);
  EXPECT_THAT(help, HasSubstr("General\n  --server=HOST:PORT"));
  EXPECT_THAT(help, HasSubstr("\n\nNumbers\n  --temperature=NUMBER"));
  for (const char* name : {"--greedy", "--stream", "--stats", "--top_k=COUNT", "--stop=TEXT", "--logit_bias=ID:NUMBER"}) {
    EXPECT_THAT(help, HasSubstr(name));
  }
  EXPECT_THAT(help, Not(HasSubstr("\t")));
}

TEST(WrapTextTest, BreaksBetweenWordsOnly) {
  EXPECT_EQ(WrapText("aa bb cc", 7, 2), "  aa bb\n  cc");
  EXPECT_EQ(WrapText("a_very_long_word b", 6, 1), " a_very_long_word\n b");
  EXPECT_EQ(WrapText("", 6, 1), " ");
}

}  // namespace
}  // namespace ration
