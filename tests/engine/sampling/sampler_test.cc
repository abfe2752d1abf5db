#include "engine/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/sampling/counter_rng.h"
#include "gtest/gtest.h"
#include "tests/engine/sampling/naive_sampler.h"

namespace ration {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Logits made with integers only, so that they are the same on every machine; no two equal.
std::vector<float> MakeLogits(int n, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::vector<float> logits(n);
  for (int i = 0; i < n; ++i) {
    const int64_t fraction = static_cast<int64_t>(random() % 1000) * n + i;
    logits[i] = scale * (static_cast<float>(fraction) / static_cast<float>(1000 * int64_t{n}) - 0.5f);
  }
  return logits;
}

int32_t SampleOnce(const SamplingParams& params, const std::vector<float>& logits, int64_t position = 0, uint64_t seed = 1,
                   const std::vector<int32_t>& forbidden = {}, const std::vector<int32_t>& prompt = {}) {
  Sampler sampler(params, prompt, seed, static_cast<int64_t>(logits.size()));
  return sampler.Sample(logits, position, forbidden, 0, nullptr);
}

struct Case {
  std::string name;
  SamplingParams params;
  std::vector<int32_t> prompt;
  std::vector<int32_t> output;  // generated before the draws
  std::vector<int32_t> forbidden;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, auto change) {
    Case c;
    c.name = name;
    change(c);
    cases.push_back(c);
  };
  add("plain", [](Case&) {});
  add("cool", [](Case& c) { c.params.temperature = 0.4f; });
  add("hot", [](Case& c) { c.params.temperature = 3.0f; });
  add("top_k", [](Case& c) { c.params.top_k = 7; });
  add("top_k_larger_than_the_vocabulary", [](Case& c) { c.params.top_k = 100000; });
  add("top_p", [](Case& c) { c.params.top_p = 0.73f; });
  add("top_p_tiny", [](Case& c) { c.params.top_p = 1e-6f; });
  add("min_p", [](Case& c) { c.params.min_p = 0.21f; });
  add("top_k_then_top_p", [](Case& c) {
    c.params.top_k = 20;
    c.params.top_p = 0.5f;
  });
  add("all_filters", [](Case& c) {
    c.params.temperature = 1.7f;
    c.params.top_k = 60;
    c.params.top_p = 0.9f;
    c.params.min_p = 0.05f;
  });
  add("min_p_then_top_p", [](Case& c) {
    c.params.min_p = 0.1f;
    c.params.top_p = 0.6f;
  });
  add("bias", [](Case& c) { c.params.logit_bias = {{3, 4.0f}, {5, -100.0f}, {9, 1.5f}}; });
  add("repetition_penalty", [](Case& c) {
    c.params.repetition_penalty = 1.6f;
    c.prompt = {1, 2, 3, 3, 3, 40, 41, 42, 43, 44};
    c.output = {2, 50, 51};
  });
  add("repetition_reward", [](Case& c) {
    c.params.repetition_penalty = 0.5f;
    c.prompt = {1, 2, 3};
  });
  add("presence_and_frequency", [](Case& c) {
    c.params.presence_penalty = 0.8f;
    c.params.frequency_penalty = 0.5f;
    c.prompt = {1, 1, 1, 1};  // must not count
    c.output = {7, 7, 7, 8, 9, 9};
  });
  add("presence_beside_repetition", [](Case& c) {
    c.params.repetition_penalty = 1.01f;
    c.params.presence_penalty = 1.5f;  // of the output only, though the repetition penalty counts the prompt
    for (int id = 0; id < 60; ++id) c.prompt.push_back(id);
    c.output = {70, 71, 72};
  });
  add("everything", [](Case& c) {
    c.params.temperature = 0.8f;
    c.params.top_k = 50;
    c.params.top_p = 0.95f;
    c.params.min_p = 0.01f;
    c.params.repetition_penalty = 1.2f;
    c.params.presence_penalty = 0.3f;
    c.params.frequency_penalty = 0.2f;
    c.params.logit_bias = {{0, 3.0f}, {1, 3.0f}};
    c.prompt = {0, 4, 8};
    c.output = {1, 1, 16};
    c.forbidden = {17, 18};
  });
  add("forbidden", [](Case& c) { c.forbidden = {0, 5, 11, 199}; });
  return cases;
}

class SamplerDistributionTest : public ::testing::TestWithParam<Case> {};

// Draws at many positions, compared with the naive probabilities: nothing outside the support, and chi-square within six
// standard deviations of its mean (fixed seeds: the outcome never changes).
TEST_P(SamplerDistributionTest, EqualsTheNaiveOne) {
  const Case& c = GetParam();
  constexpr int kVocab = 200;
  constexpr int kDraws = 20000;
  const std::vector<float> logits = MakeLogits(kVocab, 5, 6.0f);
  const std::vector<double> expected = testing::NaiveDistribution(logits, c.params, c.prompt, c.output, c.forbidden);

  // A sampler that has generated c.output: it is made to by logits that leave no choice.
  Sampler primed(c.params, c.prompt, 99, kVocab);
  for (int32_t id : c.output) {
    std::vector<float> only(kVocab, -kInf);
    only[id] = 1.0f;
    ASSERT_EQ(primed.Sample(only, 0, {}, 0, nullptr), id);
  }
  std::vector<int> counts(kVocab, 0);
  for (int position = 0; position < kDraws; ++position) {
    Sampler sampler = primed;
    const int32_t token = sampler.Sample(logits, position, c.forbidden, 0, nullptr);
    ASSERT_GE(token, 0);
    ASSERT_LT(token, kVocab);
    ++counts[token];
  }
  double chi_square = 0;
  int cells = 0;
  double rare_expected = 0;
  int rare_count = 0;
  for (int id = 0; id < kVocab; ++id) {
    if (expected[id] == 0) {
      EXPECT_EQ(counts[id], 0) << "token " << id << " is outside the support";
      continue;
    }
    const double mean = expected[id] * kDraws;
    if (mean < 8) {
      rare_expected += mean;
      rare_count += counts[id];
      continue;
    }
    chi_square += (counts[id] - mean) * (counts[id] - mean) / mean;
    ++cells;
  }
  if (rare_expected > 0) {
    EXPECT_NEAR(rare_count, rare_expected, 6 * std::sqrt(rare_expected) + 1);
  }
  EXPECT_LT(chi_square, cells + 6 * std::sqrt(2.0 * cells));
}

INSTANTIATE_TEST_SUITE_P(Options, SamplerDistributionTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

TEST(SamplerTest, DrawIsTheInverseOfTheCumulativeDistributionInIdOrder) {
  constexpr int kVocab = 3000;
  const std::vector<float> logits = MakeLogits(kVocab, 8, 8.0f);
  const std::vector<double> p = testing::NaiveDistribution(logits, SamplingParams(), {}, {}, {});
  for (int position = 0; position < 500; ++position) {
    const double u = UniformAt(31, position);
    double sum = 0;
    int expected = 0;
    while (sum + p[expected] <= u) sum += p[expected++];
    const bool near_the_edge = u - sum < 1e-6 || sum + p[expected] - u < 1e-6;
    const int32_t token = SampleOnce(SamplingParams(), logits, position, 31);
    if (!near_the_edge) {
      ASSERT_EQ(token, expected) << position;
    }
  }
}

// Support of the filters on a vocabulary as large as Llama 3's, where the fast paths differ from a plain sort.
TEST(SamplerTest, FiltersKeepTheRightTokensOfALargeVocabulary) {
  constexpr int kVocab = 128256;
  std::vector<SamplingParams> all(5);
  all[0].top_k = 40;
  all[1].top_k = 60000;
  all[2].top_p = 0.9f;
  all[3].top_p = 0.9999f;
  all[4].min_p = 0.2f;
  all[4].top_p = 0.99f;
  for (float scale : {3.0f, 60.0f}) {
    const std::vector<float> logits = MakeLogits(kVocab, 21, scale);
    for (const SamplingParams& params : all) {
      const std::vector<double> expected = testing::NaiveDistribution(logits, params, {}, {}, {});
      Sampler sampler(params, {}, 5, kVocab);
      double mean_log = 0;  // of the probability of the tokens drawn: minus the entropy
      double entropy = 0;
      double variance = 0;
      for (double p : expected) {
        if (p > 0) entropy -= p * std::log(p);
      }
      for (double p : expected) {
        if (p > 0) variance += p * (std::log(p) + entropy) * (std::log(p) + entropy);
      }
      constexpr int kDraws = 60;
      int outside = 0;
      for (int position = 0; position < kDraws; ++position) {
        const int32_t token = sampler.Sample(logits, position, {}, 0, nullptr);
        if (expected[token] == 0) {
          ++outside;
        } else {
          mean_log += std::log(expected[token]) / kDraws;
        }
      }
      EXPECT_EQ(outside, 0) << "top_k " << params.top_k << " top_p " << params.top_p << " scale " << scale;
      EXPECT_NEAR(mean_log, -entropy, 5 * std::sqrt(variance / kDraws) + 1e-3)
          << "top_k " << params.top_k << " top_p " << params.top_p << " scale " << scale;
    }
  }
}

TEST(SamplerTest, TopKKeepsExactlyKOfEqualTokensLowestIdsFirst) {
  SamplingParams params;
  params.top_k = 3;
  const std::vector<float> logits(5000, 1.0f);
  std::vector<int> counts(5000, 0);
  for (int position = 0; position < 300; ++position) ++counts[SampleOnce(params, logits, position)];
  EXPECT_GT(counts[0], 50);
  EXPECT_GT(counts[1], 50);
  EXPECT_GT(counts[2], 50);
  EXPECT_EQ(counts[0] + counts[1] + counts[2], 300);
}

TEST(SamplerTest, TemperatureZeroTakesTheLargestLogitLowestIdFirst) {
  SamplingParams params;
  params.temperature = 0;
  std::vector<float> logits = MakeLogits(1000, 2, 4.0f);
  logits[400] = logits[700] = 50.0f;
  for (int position = 0; position < 20; ++position) EXPECT_EQ(SampleOnce(params, logits, position), 400);
  EXPECT_EQ(SampleOnce(params, logits, 0, 1, {400}), 700);
}

TEST(SamplerTest, GreedyObeysBiasAndPenalties) {
  SamplingParams params;
  params.temperature = 0;
  params.logit_bias = {{2, 5.0f}};
  EXPECT_EQ(SampleOnce(params, {1.0f, 2.0f, 0.0f}), 2);
  params.logit_bias.clear();
  params.repetition_penalty = 2.0f;
  EXPECT_EQ(SampleOnce(params, {1.5f, 2.0f, 0.0f}, 0, 1, {}, {1}), 0);
  EXPECT_EQ(SampleOnce(params, {-1.5f, -1.0f, -4.0f}, 0, 1, {}, {1}), 0);  // a negative logit is multiplied
  params.repetition_penalty = 1.0f;
  params.frequency_penalty = 0.6f;
  Sampler sampler(params, {}, 1, 2);
  const std::vector<float> logits = {2.0f, 1.0f};
  std::vector<int32_t> tokens;
  for (int i = 0; i < 5; ++i) tokens.push_back(sampler.Sample(logits, i, {}, 0, nullptr));
  EXPECT_EQ(tokens, (std::vector<int32_t>{0, 0, 1, 0, 1}));  // 2.0, 1.4, 0.8 | 1.0, 0.4: each choice lowers its token
}

TEST(SamplerTest, TinyTemperatureIsGreedyAndNeverNan) {
  for (float temperature : {1e-45f, 1e-20f, 1e-6f, 1.1e-5f, 1e-3f}) {
    SamplingParams params;
    params.temperature = temperature;
    std::vector<float> logits = {3.0f, 3.1f, -kInf, kNan, 2.0f, std::numeric_limits<float>::lowest()};
    for (int position = 0; position < 50; ++position) EXPECT_EQ(SampleOnce(params, logits, position), 1) << temperature;
  }
}

TEST(SamplerTest, HugeTemperatureIsUniform) {
  SamplingParams params;
  params.temperature = 1e30f;
  std::vector<int> counts(4, 0);
  for (int position = 0; position < 4000; ++position) ++counts[SampleOnce(params, {0.0f, 5.0f, -5.0f, 100.0f}, position)];
  for (int count : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(SamplerTest, OnlyPossibleTokenIsAlwaysChosen) {
  for (int filter = 0; filter < 4; ++filter) {
    SamplingParams params;
    params.temperature = 2.0f;
    if (filter == 1) params.top_k = 5;
    if (filter == 2) params.top_p = 0.5f;
    if (filter == 3) params.min_p = 0.5f;
    std::vector<float> logits(700, -kInf);
    logits[10] = kNan;
    logits[650] = -1000.0f;
    for (int position = 0; position < 50; ++position) EXPECT_EQ(SampleOnce(params, logits, position), 650) << filter;
  }
}

TEST(SamplerTest, InfiniteLogitsShareEverything) {
  std::vector<int> counts(4, 0);
  for (int position = 0; position < 400; ++position) ++counts[SampleOnce(SamplingParams(), {kInf, 5.0f, kNan, kInf}, position)];
  EXPECT_EQ(counts[0] + counts[3], 400);
  EXPECT_GT(counts[0], 120);
  EXPECT_GT(counts[3], 120);
}

TEST(SamplerTest, WithoutAnyPossibleTokenTheLowestAllowedIsChosen) {
  for (float temperature : {0.0f, 1.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    EXPECT_EQ(SampleOnce(params, {kNan, -kInf, kNan, -kInf}), 0);
    EXPECT_EQ(SampleOnce(params, {kNan, -kInf, kNan, 3.0f}, 0, 1, {0, 1, 3}), 2);
  }
}

TEST(SamplerTest, BiasCannotRaiseAForbiddenToken) {
  SamplingParams params;
  params.logit_bias = {{1, 100.0f}};
  for (int position = 0; position < 100; ++position) {
    EXPECT_NE(SampleOnce(params, {0.0f, 0.0f, 0.0f}, position, 1, {1}), 1);
  }
}

TEST(SamplerTest, SameSeedAndPositionsGiveTheSameTokensInAnyOrder) {
  SamplingParams params;
  params.top_p = 0.9f;
  const std::vector<float> logits = MakeLogits(500, 4, 3.0f);
  std::vector<int32_t> forwards(100);
  std::vector<int32_t> backwards(100);
  std::vector<int32_t> other_seed(100);
  for (int i = 0; i < 100; ++i) forwards[i] = SampleOnce(params, logits, i, 77);
  for (int i = 99; i >= 0; --i) backwards[i] = SampleOnce(params, logits, i, 77);
  for (int i = 0; i < 100; ++i) other_seed[i] = SampleOnce(params, logits, i, 78);
  EXPECT_EQ(forwards, backwards);
  EXPECT_NE(forwards, other_seed);
}

// What was drawn when this test was written. A change here changes every user's seeded output: do it knowingly.
TEST(SamplerTest, SeededDrawsAreTheSameOnEveryMachine) {
  const std::vector<float> logits = MakeLogits(32000, 12, 5.0f);
  SamplingParams plain;
  SamplingParams filtered;
  filtered.temperature = 0.8f;
  filtered.top_k = 1000;
  filtered.top_p = 0.95f;
  std::vector<int32_t> plain_tokens;
  std::vector<int32_t> filtered_tokens;
  for (int position = 0; position < 8; ++position) {
    plain_tokens.push_back(SampleOnce(plain, logits, position, 0x123456789ABCDEFu));
    filtered_tokens.push_back(SampleOnce(filtered, logits, position, 0x123456789ABCDEFu));
  }
  EXPECT_EQ(plain_tokens, (std::vector<int32_t>{23265, 21867, 31028, 21677, 20148, 10939, 12042, 17952}));
  EXPECT_EQ(filtered_tokens, (std::vector<int32_t>{23429, 22312, 30875, 22040, 20596, 10395, 11848, 18212}));
}

TEST(SamplerTest, LogprobsAreThoseOfTheRawLogits) {
  constexpr int kVocab = 40000;
  std::vector<float> logits = MakeLogits(kVocab, 6, 12.0f);
  logits[77] = kNan;
  SamplingParams params;
  params.temperature = 0.1f;
  params.top_k = 2;
  params.repetition_penalty = 3.0f;
  params.logit_bias = {{500, 100.0f}};
  const std::vector<double> p = testing::NaiveDistribution(logits, SamplingParams(), {}, {}, {});
  std::vector<int32_t> order(kVocab);
  for (int i = 0; i < kVocab; ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });

  for (int top_n : {0, 1, 5, 20}) {
    Sampler sampler(params, {1, 2, 3}, 9, kVocab);
    TokenLogprob logprob;
    const int32_t token = sampler.Sample(logits, 3, {order[0]}, top_n, &logprob);
    EXPECT_EQ(token, 500);
    EXPECT_EQ(logprob.token_id, token);
    EXPECT_NEAR(logprob.logprob, std::log(p[token]), 1e-5);
    ASSERT_EQ(logprob.top.size(), static_cast<size_t>(top_n));
    for (int i = 0; i < top_n; ++i) {
      EXPECT_EQ(logprob.top[i].first, order[i]);
      EXPECT_NEAR(logprob.top[i].second, std::log(p[order[i]]), 1e-5);
    }
  }
}

TEST(SamplerTest, LogprobsLeaveOutImpossibleTokensAndAreNeverNan) {
  TokenLogprob logprob;
  Sampler sampler(SamplingParams(), {}, 9, 4);
  EXPECT_EQ(sampler.Sample({-kInf, 2.0f, kNan, -kInf}, 0, {}, 3, &logprob), 1);
  EXPECT_FLOAT_EQ(logprob.logprob, 0.0f);
  ASSERT_EQ(logprob.top.size(), 1u);
  EXPECT_EQ(logprob.top[0].first, 1);

  EXPECT_EQ(sampler.Sample({kNan, kNan, kNan, kNan}, 0, {}, 3, &logprob), 0);
  EXPECT_EQ(logprob.logprob, -kInf);
  EXPECT_TRUE(logprob.top.empty());
}

TEST(SamplerTest, TopLogprobsMayExceedTheVocabulary) {
  TokenLogprob logprob;
  Sampler sampler(SamplingParams(), {}, 9, 2);
  sampler.Sample({1.0f, 2.0f}, 0, {}, 20, &logprob);
  ASSERT_EQ(logprob.top.size(), 2u);
  EXPECT_EQ(logprob.top[0].first, 1);
}

}  // namespace
}  // namespace ration
