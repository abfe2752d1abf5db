// Tests engine/budget/ratio_ladder.cc: the header's invariants, for the default ladder of any model and for ladders drawn at random.
#include "engine/budget/ratio_ladder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace ration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ExpertSpec Spec(const std::vector<int>& groups) { return *ExpertSpec::Create(groups, 32); }
Ratio R(const std::string& text) {
  return *Ratio::Parse(text, static_cast<int>(std::count(text.begin(), text.end(), ':')) + 1);
}

void ExpectInvariants(const RatioLadder& ladder, const ExpertSpec& spec) {
  for (size_t i = 0; i < ladder.knots().size(); ++i) {
    const double fraction = ladder.knots()[i].KvFraction(spec);
    EXPECT_EQ(ladder.At(fraction), ladder.knots()[i]);
    if (i > 0) {
      EXPECT_GT(fraction, ladder.knots()[i - 1].KvFraction(spec));
    }
  }
  std::vector<int64_t> before(spec.num_experts(), 0);
  for (int step = 0; step <= 1000; ++step) {
    const double fraction = step / 1000.0;
    const Ratio ratio = ladder.At(fraction);
    EXPECT_NEAR(ratio.KvFraction(spec), std::clamp(fraction, ladder.lowest(), ladder.highest()), 2e-6);
    int64_t prefix = 0;
    for (int e = 0; e < spec.num_experts(); ++e) {
      prefix += ratio.ppm(e);
      EXPECT_GE(prefix, before[e]) << "fraction " << fraction << " expert " << e;
      before[e] = prefix;
    }
  }
}

TEST(RatioLadder, DefaultIsTheDocumentedOneForThreeExperts) {
  const RatioLadder ladder = RatioLadder::Default(Spec({1, 2, 4}));
  EXPECT_EQ(ladder.knots(), (std::vector<Ratio>{R("0:0:1"), R("3:1:6"), R("1:0:0")}));
  EXPECT_EQ(ladder.ToString(), "0.25=0:0:1 0.5=0.3:0.1:0.6 1=1:0:0");
  // Worked by hand in docs/budget_control.md.
  EXPECT_EQ(ladder.At(0.75), R("0.65:0.05:0.3"));
  EXPECT_EQ(ladder.At(0.4), R("0.18:0.06:0.76"));
  EXPECT_EQ(ladder.At(0), R("0:0:1"));
  EXPECT_EQ(ladder.At(2), R("1:0:0"));
}

TEST(RatioLadder, DefaultHoldsTheInvariantsForAnyGroupSizes) {
  const std::vector<std::vector<int>> all = {{1}, {1, 2}, {1, 32}, {1, 2, 4}, {1, 4, 32}, {1, 2, 32}, {1, 16, 32},
                                             {1, 2, 4, 8}, {1, 2, 4, 8, 16, 32}};
  for (const std::vector<int>& groups : all) {
    SCOPED_TRACE(::testing::PrintToString(groups));
    const ExpertSpec spec = Spec(groups);
    const RatioLadder ladder = RatioLadder::Default(spec);
    const int last = spec.num_experts() - 1;
    EXPECT_EQ(ladder.knots().size(), std::min<size_t>(3, groups.size()));
    EXPECT_EQ(ladder.highest(), 1);
    EXPECT_EQ(ladder.lowest(), 1.0 / groups[last]);
    if (last >= 2) {
      EXPECT_NEAR(ladder.knots()[1].KvFraction(spec), 0.5, 1e-6);
    }
    ExpectInvariants(ladder, spec);
  }
}

TEST(RatioLadder, LaddersOfAnyKnotsHoldTheInvariantsOrAreRefused) {
  std::mt19937_64 random(7);
  const ExpertSpec spec = Spec({1, 2, 4, 8});
  std::uniform_real_distribution<double> weight(0, 1);
  int made = 0;
  for (int i = 0; i < 900; ++i) {
    std::vector<Ratio> knots;
    for (int k = 0; k < 3; ++k) {
      std::vector<double> weights(4);
      for (double& w : weights) w = std::max(0.0, weight(random) - 0.2);
      weights[k] += 0.1 + 2.0 * k;
      knots.push_back(*Ratio::FromWeights(weights));
    }
    const auto ladder = RatioLadder::Create(spec, knots);
    if (!ladder.ok()) continue;
    ++made;
    ExpectInvariants(*ladder, spec);
  }
  EXPECT_GT(made, 10);
}

TEST(RatioLadder, AnExpertWithoutAShareAroundAFractionHasNone) {
  const RatioLadder ladder = *RatioLadder::Create(Spec({1, 2, 4}), {R("1:0:0"), R("1:0:2"), R("0:0:1")});
  for (double fraction = 0.25; fraction <= 1; fraction += 0.001) EXPECT_EQ(ladder.At(fraction).ppm(1), 0);
}

TEST(RatioLadder, RefusalsNameTheKnotsAndWhatIsWrong) {
  const ExpertSpec spec = Spec({1, 2, 4});
  EXPECT_THAT(std::string(RatioLadder::Create(spec, {}).status().message()), HasSubstr("at least one ratio"));
  EXPECT_THAT(std::string(RatioLadder::Create(spec, {R("1:0:0"), R("1:1")}).status().message()),
              AllOf(HasSubstr("0.5:0.5 has 2"), HasSubstr("3 experts")));
  EXPECT_THAT(std::string(RatioLadder::Create(spec, {R("0:1:0"), R("1:0:0"), R("3:1:6")}).status().message()),
              AllOf(HasSubstr("0:1:0"), HasSubstr("0.3:0.1:0.6"), HasSubstr("the same KV fraction 0.5")));
  // A higher fraction, but less at expert 0.
  const auto crossing = RatioLadder::Create(spec, {R("0.3:0:0.7"), R("0.2:0.8:0")});
  EXPECT_EQ(crossing.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(crossing.status().message()),
              AllOf(HasSubstr("0.3:0:0.7"), HasSubstr("0.2:0.8:0"), HasSubstr("experts 0 to 0"), HasSubstr("0.2 instead of 0.3")));
}

}  // namespace
}  // namespace ration
