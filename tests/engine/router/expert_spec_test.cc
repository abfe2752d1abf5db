// Tests engine/router/expert_spec.cc: which group sizes make experts, and how ratios are read, rounded and shown.
#include "engine/router/expert_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

TEST(ExpertSpecTest, AcceptsAscendingDivisors) {
  for (const std::vector<int>& sizes : std::vector<std::vector<int>>{{1}, {1, 2}, {1, 2, 4}, {1, 3, 12}, {1, 4, 8}}) {
    const auto spec = ExpertSpec::Create(sizes, 24);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->group_sizes(), sizes);
    EXPECT_EQ(spec->num_experts(), static_cast<int>(sizes.size()));
  }
  EXPECT_EQ(ExpertSpec(), *ExpertSpec::Create({1}, 5));
}

TEST(ExpertSpecTest, RefusesOtherListsByName) {
  const auto message = [](std::vector<int> sizes, int heads) {
    const auto spec = ExpertSpec::Create(sizes, heads);
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(spec.status().message());
  };
  EXPECT_THAT(message({}, 4), HasSubstr("between 1 and 8"));
  EXPECT_THAT(message({1, 2, 4, 8, 16, 32, 64, 128, 256}, 256), HasSubstr("between 1 and 8"));
  EXPECT_THAT(message({2, 4}, 4), HasSubstr("[2, 4]: the first must be 1"));
  EXPECT_THAT(message({0, 1}, 4), HasSubstr("the first must be 1"));
  EXPECT_THAT(message({1, 2, 2}, 4), HasSubstr("ascend strictly"));
  EXPECT_THAT(message({1, 4, 2}, 4), HasSubstr("ascend strictly"));
  EXPECT_THAT(message({1, 0}, 4), HasSubstr("ascend strictly"));
  EXPECT_THAT(message({1, 3}, 4), HasSubstr("3 does not divide the model's 4"));
  EXPECT_THAT(message({1, 2, 3}, 12), HasSubstr("3 is not a multiple of 2"));
}

TEST(RatioTest, ReadsWeights) {
  const Ratio ratio = *Ratio::Parse("3:1:6", 3);
  EXPECT_EQ(ratio.ppm(0), 300000);
  EXPECT_EQ(ratio.ppm(1), 100000);
  EXPECT_EQ(ratio.ppm(2), 600000);
  EXPECT_EQ(ratio.ToString(), "0.3:0.1:0.6");
  EXPECT_EQ(ratio, *Ratio::Parse("0.3:0.1:0.6", 3));
  EXPECT_EQ(ratio, *Ratio::Parse("30:10:60", 3));
  EXPECT_EQ(ratio, *Ratio::Parse(ratio.ToString(), 3));
  EXPECT_NE(ratio, *Ratio::Parse("3:1:5", 3));
  EXPECT_EQ(*Ratio::Parse("0:7:0", 3), Ratio::AllTo(1, 3));
  EXPECT_EQ(*Ratio::Parse("1", 1), Ratio());
}

TEST(RatioTest, RefusesUnknownSyntaxQuotingIt) {
  for (const char* text : {"", ":", "3", "3:1", "3:1:6:0", "3:1:", "a:b:c", "3;1;6", "3:-1:6", "0:0:0", "nan:1:1",
                           "inf:1:1", "1e308:1e308:1", "3:1:6 x", "--", "3:1:0x"}) {
    const auto ratio = Ratio::Parse(text, 3);
    EXPECT_EQ(ratio.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(ratio.status().message()), HasSubstr(absl::StrCat("\"", text, "\"")));
  }
}

TEST(RatioTest, KvFractionIsTheShareWeightedCost) {
  const ExpertSpec spec = *ExpertSpec::Create({1, 2, 4}, 4);
  EXPECT_DOUBLE_EQ(Ratio::Parse("3:1:6", 3)->KvFraction(spec), 0.5);
  EXPECT_DOUBLE_EQ(Ratio::Parse("0:1:0", 3)->KvFraction(spec), 0.5);
  EXPECT_DOUBLE_EQ(Ratio::Parse("1:0:0", 3)->KvFraction(spec), 1);
  EXPECT_DOUBLE_EQ(Ratio::Parse("0:0:1", 3)->KvFraction(spec), 0.25);
}

TEST(RatioTest, PartsPerMillionSumToOneMillionForAnyWeights) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-9, 9);
  for (int i = 0; i < 20000; ++i) {
    std::vector<double> weights(1 + random() % kMaxExperts);
    double sum = 0;
    for (double& weight : weights) sum += weight = random() % 4 == 0 ? 0 : std::pow(10, exponent(random));
    if (sum == 0) continue;
    const auto ratio = Ratio::FromWeights(weights);
    ASSERT_TRUE(ratio.ok()) << ratio.status();
    int64_t total = 0;
    for (size_t e = 0; e < weights.size(); ++e) {
      ASSERT_GE(ratio->ppm(e), 0);
      if (weights[e] == 0) {
        ASSERT_EQ(ratio->ppm(e), 0) << absl::StrJoin(weights, ":");
      }
      ASSERT_NEAR(ratio->share(e), weights[e] / sum, 1.01e-6) << absl::StrJoin(weights, ":");
      total += ratio->ppm(e);
    }
    ASSERT_EQ(total, Ratio::kOne) << absl::StrJoin(weights, ":");
  }
}

TEST(Ratio, PrefixMaxGivesNoPrefixLessThanEither) {
  const auto ratio = [](const char* text) { return *Ratio::Parse(text, 3); };
  EXPECT_EQ(Ratio::PrefixMax(ratio("0:1:0"), ratio("0:0:1")), ratio("0:1:0"));
  EXPECT_EQ(Ratio::PrefixMax(ratio("3:1:6"), ratio("0:1:0")), ratio("3:7:0"));
  EXPECT_EQ(Ratio::PrefixMax(ratio("0:1:0"), ratio("3:1:6")), ratio("3:7:0"));
  EXPECT_EQ(Ratio::PrefixMax(ratio("5:0:5"), ratio("2:6:2")), ratio("5:3:2"));
  EXPECT_EQ(Ratio::PrefixMax(ratio("3:1:6"), ratio("3:1:6")), ratio("3:1:6"));
}

}  // namespace
}  // namespace ration
