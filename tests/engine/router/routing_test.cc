// Tests engine/router/routing.cc: quotas that track a ratio to the token, and progressive top-k against its definition.
#include "engine/router/routing.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace ration {
namespace {

// Ratios of 1 to kMaxExperts experts: even, lopsided, with zeros, with shares down to a millionth.
std::vector<Ratio> ManyRatios(int random_ones) {
  std::vector<Ratio> ratios = {Ratio(),
                               *Ratio::Parse("3:1:6", 3),
                               *Ratio::Parse("5:3:2", 3),
                               *Ratio::Parse("0:1:0", 3),
                               *Ratio::Parse("0:0:1", 3),
                               *Ratio::Parse("1:0:999999", 3),
                               *Ratio::Parse("999998:1:1", 3),
                               *Ratio::Parse("1:1:1:1:1:1:1:1", 8),
                               *Ratio::Parse("1:1000000", 2),
                               *Ratio::Parse("1:2:4:8:16:32:64:128", 8)};
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(-5, 0);
  for (int i = 0; i < random_ones; ++i) {
    std::vector<double> weights(2 + random() % (kMaxExperts - 1));
    for (double& weight : weights) weight = random() % 5 == 0 ? 0 : std::pow(10, exponent(random));
    weights[random() % weights.size()] = 1;
    ratios.push_back(*Ratio::FromWeights(weights));
  }
  return ratios;
}

void AddAll(ExpertCounts& counts, const ExpertCounts& more) {
  for (int e = 0; e < kMaxExperts; ++e) counts.count[e] += more.count[e];
  counts.total += more.total;
}

TEST(NextQuotaTest, StaysWithinOneTokenOfTheShareAtEveryLength) {
  for (const Ratio& ratio : ManyRatios(60)) {
    ExpertCounts counts;
    for (int64_t n = 1; n <= 4000; ++n) {
      const ExpertCounts quota = NextQuota(ratio, counts, 1);
      AddAll(counts, quota);
      ASSERT_EQ(counts.total, n);
      int64_t sum = 0;
      for (int e = 0; e < ratio.num_experts(); ++e) {
        ASSERT_GE(quota.count[e], 0);
        sum += counts.count[e];
        // |count - share * n| < 1, in integers.
        ASSERT_LT(std::llabs(counts.count[e] * Ratio::kOne - ratio.ppm(e) * n), Ratio::kOne)
            << "expert " << e << " after " << n << " tokens at " << ratio.ToString();
        if (ratio.ppm(e) == 0) {
          ASSERT_EQ(counts.count[e], 0);
        }
      }
      ASSERT_EQ(sum, n);
    }
  }
}

TEST(NextQuotaTest, CutsDoNotMatter) {
  std::mt19937_64 random(3);
  for (const Ratio& ratio : ManyRatios(20)) {
    const ExpertCounts whole = NextQuota(ratio, {}, 3000);
    ExpertCounts pieces;
    while (pieces.total < 3000) {
      AddAll(pieces, NextQuota(ratio, pieces, std::min<int64_t>(3000 - pieces.total, random() % 400)));
    }
    EXPECT_EQ(pieces.count, whole.count) << ratio.ToString();
  }
}

TEST(NextQuotaTest, LeadsBackFromAnyCounts) {
  std::mt19937_64 random(5);
  for (const Ratio& ratio : ManyRatios(60)) {
    ExpertCounts counts;
    for (int i = 0; i < 200; ++i) counts.Add(static_cast<int>(random() % ratio.num_experts()));
    const ExpertCounts before = counts;
    const ExpertCounts quota = NextQuota(ratio, counts, 1000);
    AddAll(counts, quota);
    int64_t sum = 0;
    for (int e = 0; e < ratio.num_experts(); ++e) {
      ASSERT_GE(quota.count[e], 0);
      sum += quota.count[e];
      // Who holds more than the share of the new total gets nothing; nobody is lifted above it.
      const double share = ratio.share(e) * static_cast<double>(counts.total);
      if (static_cast<double>(before.count[e]) >= share) {
        EXPECT_EQ(quota.count[e], 0) << ratio.ToString();
      } else {
        EXPECT_LT(static_cast<double>(counts.count[e]), share + 1) << ratio.ToString();
      }
    }
    EXPECT_EQ(sum, 1000);
    EXPECT_EQ(quota.total, 1000);
  }
}

// The definition, word for word: repeatedly the best of those left.
std::vector<uint8_t> NaiveTopK(const std::vector<float>& scores, int num_experts, const ExpertCounts& quota) {
  const int64_t num_tokens = quota.total;
  std::vector<uint8_t> experts(num_tokens, 255);
  for (int e = 0; e < num_experts; ++e) {
    for (int64_t taken = 0; taken < quota.count[e]; ++taken) {
      int64_t best = -1;
      double best_score = 0;
      for (int64_t t = 0; t < num_tokens; ++t) {
        if (experts[t] != 255) continue;
        const float s = scores[t * num_experts + e];
        const double score = std::isnan(s) ? -std::numeric_limits<double>::infinity() : s;
        if (best < 0 || score > best_score) {
          best = t;
          best_score = score;
        }
      }
      experts[best] = static_cast<uint8_t>(e);
    }
  }
  return experts;
}

TEST(ProgressiveTopKTest, EqualsTheDefinition) {
  std::mt19937_64 random(11);
  const std::vector<Ratio> ratios = ManyRatios(20);
  for (int round = 0; round < 600; ++round) {
    const Ratio& ratio = ratios[round % ratios.size()];
    const int num_experts = ratio.num_experts();
    ExpertCounts so_far;
    for (uint64_t i = random() % 40; i > 0; --i) so_far.Add(static_cast<int>(random() % num_experts));
    const int64_t num_tokens = static_cast<int64_t>(random() % 70);
    const ExpertCounts quota = NextQuota(ratio, so_far, num_tokens);
    // Few distinct values make many ties; sometimes NaN and infinities.
    const int levels = 1 + static_cast<int>(random() % 12);
    std::vector<float> scores(num_tokens * num_experts);
    for (float& score : scores) {
      score = static_cast<float>(random() % levels) / 7;
      if (round % 3 == 0 && random() % 8 == 0) score = std::numeric_limits<float>::quiet_NaN();
      if (round % 5 == 0 && random() % 8 == 0) score = -std::numeric_limits<float>::infinity();
      if (round % 5 == 0 && random() % 8 == 0) score = std::numeric_limits<float>::infinity();
    }
    std::vector<uint8_t> experts(num_tokens, 99);
    ProgressiveTopK(scores, num_experts, quota, absl::MakeSpan(experts));
    ASSERT_EQ(experts, NaiveTopK(scores, num_experts, quota)) << ratio.ToString() << ", " << num_tokens << " tokens";
  }
}

TEST(ProgressiveTopKTest, TiesGoToTheLowerIndex) {
  const std::vector<float> scores(10 * 3, 0.5f);
  std::vector<uint8_t> experts(10);
  ProgressiveTopK(scores, 3, NextQuota(*Ratio::Parse("3:1:6", 3), {}, 10), absl::MakeSpan(experts));
  EXPECT_EQ(experts, (std::vector<uint8_t>{0, 0, 0, 1, 2, 2, 2, 2, 2, 2}));
}

TEST(ProgressiveTopKTest, NanIsNeverPreferred) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores = {nan, 0, 0.1f, 0, nan, 0, 0.2f, 0};
  std::vector<uint8_t> experts(4);
  ProgressiveTopK(scores, 2, NextQuota(*Ratio::Parse("1:1", 2), {}, 4), absl::MakeSpan(experts));
  EXPECT_EQ(experts, (std::vector<uint8_t>{1, 0, 1, 0}));
}

TEST(ArgmaxExpertTest, HighestThenLowestIndexAndNeverNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(ArgmaxExpert(std::vector<float>{0.1f, 0.7f, 0.3f}), 1);
  EXPECT_EQ(ArgmaxExpert(std::vector<float>{0.7f, 0.7f, 0.3f}), 0);
  EXPECT_EQ(ArgmaxExpert(std::vector<float>{0.4f}), 0);
  EXPECT_EQ(ArgmaxExpert(std::vector<float>{nan, 0.2f, 0.3f}), 2);
  EXPECT_EQ(ArgmaxExpert(std::vector<float>{0.2f, nan, 0.1f}), 0);
  EXPECT_EQ(ArgmaxExpert(std::vector<float>{nan, nan, nan}), 0);
}

// How far a count is above its share, in parts per million of a token.
int64_t Debt(const Ratio& ratio, const ExpertCounts& counts, int e) {
  return counts.count[e] * Ratio::kOne - ratio.ppm(e) * counts.total;
}

void ExpectAddsUp(const ExpertCounts& counts, const Ratio& ratio) {
  int64_t sum = 0;
  for (int e = 0; e < kMaxExperts; ++e) {
    ASSERT_GE(counts.count[e], 0);
    if (e >= ratio.num_experts() || ratio.ppm(e) == 0) {
      ASSERT_EQ(counts.count[e], 0);
    }
    sum += counts.count[e];
  }
  ASSERT_EQ(sum, counts.total);
}

TEST(RebaseTest, KeepsTheTotalAndEmptiesExpertsWithoutAShare) {
  std::mt19937 random(5);
  const std::vector<Ratio> ratios = ManyRatios(60);
  for (const Ratio& from : ratios) {
    for (const Ratio& to : ratios) {
      if (from.num_experts() != to.num_experts()) continue;
      ExpertCounts counts;  // anything: argmax may have routed
      for (int e = 0; e < from.num_experts(); ++e) counts.total += counts.count[e] = random() % 200;
      for (const bool keep_debts : {false, true}) {
        const ExpertCounts rebased = Rebase(from, to, counts, keep_debts);
        ASSERT_EQ(rebased.total, counts.total);
        ExpectAddsUp(rebased, to);
        ASSERT_FALSE(HasFatalFailure()) << from.ToString() << " to " << to.ToString();
      }
    }
  }
}

TEST(RebaseTest, CarriesDebtsToTheToken) {
  const Ratio from = *Ratio::Parse("3:1:6", 3), to = *Ratio::Parse("5:3:2", 3);
  ExpertCounts counts;  // of 1,000: 12 above, 5 below, 7 below
  counts.count = {312, 95, 593};
  counts.total = 1000;
  const ExpertCounts rebased = Rebase(from, to, counts, /*keep_debts=*/true);
  EXPECT_EQ(rebased.count[0], 512);
  EXPECT_EQ(rebased.count[1], 295);
  EXPECT_EQ(rebased.count[2], 193);
  // So the next quotas pay them back.
  ExpertCounts after = rebased;
  AddAll(after, NextQuota(to, rebased, 100));
  EXPECT_EQ(after.count[0], 550);
  EXPECT_EQ(after.count[1], 330);
  EXPECT_EQ(after.count[2], 220);
}

TEST(RebaseTest, CarriesDebtsOfEveryRatioToWithinAToken) {
  std::mt19937 random(6);
  const std::vector<Ratio> ratios = ManyRatios(60);
  for (const Ratio& from : ratios) {
    for (const Ratio& to : ratios) {
      if (from.num_experts() != to.num_experts()) continue;
      // Many tokens, so that no debt is more than a share, and both with every share above it.
      ExpertCounts counts = NextQuota(from, ExpertCounts(), 3000);
      bool all_shared = true;
      for (int e = 0; e < to.num_experts(); ++e) all_shared = all_shared && to.ppm(e) > 10000 && from.ppm(e) > 10000;
      if (!all_shared) continue;
      const int debtor = static_cast<int>(random() % from.num_experts());
      const int creditor = static_cast<int>(random() % from.num_experts());
      const int64_t debt = static_cast<int64_t>(random() % 20);
      counts.count[debtor] += debt;
      counts.count[creditor] -= debt;
      const ExpertCounts rebased = Rebase(from, to, counts, /*keep_debts=*/true);
      for (int e = 0; e < to.num_experts(); ++e) {
        ASSERT_LE(std::llabs(Debt(to, rebased, e) - Debt(from, counts, e)), Ratio::kOne)
            << "expert " << e << ", " << from.ToString() << " to " << to.ToString();
      }
    }
  }
}

TEST(RebaseTest, WithoutDebtsEveryExpertIsAtItsShareToTheToken) {
  std::mt19937 random(7);
  const std::vector<Ratio> ratios = ManyRatios(60);
  for (const Ratio& from : ratios) {
    for (const Ratio& to : ratios) {
      if (from.num_experts() != to.num_experts()) continue;
      ExpertCounts counts;
      for (int e = 0; e < from.num_experts(); ++e) counts.total += counts.count[e] = random() % 2000;
      const ExpertCounts rebased = Rebase(from, to, counts, /*keep_debts=*/false);
      for (int e = 0; e < to.num_experts(); ++e) {
        ASSERT_LT(std::llabs(Debt(to, rebased, e)), Ratio::kOne) << to.ToString();
      }
    }
  }
}

TEST(RebaseTest, ChangesBackAndForthDriftByATokenAChangeAtMost) {
  const Ratio a = *Ratio::Parse("3:1:6", 3), b = *Ratio::Parse("0.123457:0.4:0.476543", 3);
  ExpertCounts counts = NextQuota(a, ExpertCounts(), 997);
  counts.count[0] += 9;
  counts.count[2] -= 9;
  std::array<int64_t, 3> start{};
  for (int e = 0; e < 3; ++e) start[e] = Debt(a, counts, e);
  for (int change = 1; change <= 400; ++change) {
    counts = Rebase(change % 2 == 1 ? a : b, change % 2 == 1 ? b : a, counts, /*keep_debts=*/true);
    ASSERT_EQ(counts.total, 997);
    const Ratio& now = change % 2 == 1 ? b : a;
    for (int e = 0; e < 3; ++e) {
      ASSERT_LE(std::llabs(Debt(now, counts, e) - start[e]), change * Ratio::kOne) << change;
      // In fact rounding does not add up: nothing is lost on the way there and back.
      ASSERT_LE(std::llabs(Debt(now, counts, e) - start[e]), 2 * Ratio::kOne) << change;
    }
  }
}

TEST(RebaseTest, ToTheSameRatioChangesNothing) {
  const Ratio ratio = *Ratio::Parse("3:1:6", 3);
  ExpertCounts counts;
  counts.count = {40, 10, 50};
  counts.total = 100;
  EXPECT_EQ(Rebase(ratio, ratio, counts, true).count, counts.count);
  EXPECT_EQ(Rebase(ratio, ratio, ExpertCounts(), true).total, 0);
}

}  // namespace
}  // namespace ration
