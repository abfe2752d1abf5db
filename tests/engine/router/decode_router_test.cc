// Tests engine/router/decode_router.cc: the realised ratio of decoding, whatever the scores do, and the bound that
// reservations of memory rest on.
#include "engine/router/decode_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kWindowTokens = 2000;
constexpr double kPromisedPoints = 0.02;

Ratio R(const std::string& text) {
  return *Ratio::Parse(text, static_cast<int>(std::count(text.begin(), text.end(), ':')) + 1);
}

float Sigmoid(double x) { return static_cast<float>(1 / (1 + std::exp(-x))); }

// Scores as a trained router might give on held-out text: correlated among the experts.
std::vector<float> Calibration(int num_experts, int64_t num_tokens, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<float> scores;
  for (int64_t t = 0; t < num_tokens; ++t) {
    const double common = normal(random);
    for (int e = 0; e < num_experts; ++e) scores.push_back(Sigmoid(0.6 * common + 0.8 * normal(random) + e - 1));
  }
  return scores;
}

std::unique_ptr<const DecodeRouter> MakeRouter(const Ratio& ratio, bool calibrated = true) {
  DecodeRouter::Options options;
  options.num_layers = 1;
  options.ratio = ratio;
  if (calibrated) options.calibration = {Calibration(ratio.num_experts(), 2000, 1)};
  auto router = DecodeRouter::Create(options);
  EXPECT_TRUE(router.ok()) << router.status();
  return *std::move(router);
}

// A stream of scores: may look at what the router has done so far, as an adversary would.
using Scores = std::function<void(int64_t position, const ExpertCounts& so_far, std::vector<float>& scores)>;

struct NamedScores {
  std::string name;
  Scores scores;
};

std::vector<NamedScores> ScoreStreams(uint64_t seed) {
  const auto random = std::make_shared<std::mt19937_64>(seed);
  const auto normal = std::make_shared<std::normal_distribution<double>>();
  const auto state = std::make_shared<std::vector<double>>(kMaxExperts, 0.0);
  const auto gaussian = [=](double shift, double scale) -> Scores {
    return [=](int64_t, const ExpertCounts&, std::vector<float>& s) {
      for (float& x : s) x = Sigmoid(shift + scale * (*normal)(*random));
    };
  };
  const auto constant = [](float value) -> Scores {
    return [value](int64_t, const ExpertCounts&, std::vector<float>& s) { std::fill(s.begin(), s.end(), value); };
  };
  // Blocks in which every expert's score is either the highest or the lowest possible.
  const auto blocks = [=](int64_t length) -> Scores {
    return [=](int64_t position, const ExpertCounts&, std::vector<float>& s) {
      if (position % length == 0) {
        for (double& x : *state) x = static_cast<double>((*random)() % 2);
      }
      for (size_t e = 0; e < s.size(); ++e) s[e] = static_cast<float>((*state)[e]);
    };
  };
  // Drives every second prefix up and the others down for one window, then the other way round: the middle experts get
  // as many tokens as the rules allow, then as few.
  const auto seesaw = [](int64_t length, size_t phase) -> Scores {
    return [=](int64_t position, const ExpertCounts&, std::vector<float>& s) {
      const size_t flip = static_cast<size_t>(position / length) + phase;
      for (size_t e = 0; e < s.size(); ++e) s[e] = (e + flip) % 2 == 0 ? 1.0f : 0.0f;
    };
  };
  return {
      {"like the calibration, roughly", gaussian(0, 1)},
      {"shifted up", gaussian(4, 1)},
      {"shifted down", gaussian(-4, 1)},
      {"narrow", gaussian(0, 0.01)},
      {"wide", gaussian(0, 8)},
      {"constant 0.5", constant(0.5f)},
      {"all high", constant(1.0f)},
      {"all low", constant(0.0f)},
      {"not a number", constant(std::numeric_limits<float>::quiet_NaN())},
      {"alternating", [](int64_t p, const ExpertCounts&,
                         std::vector<float>& s) { std::fill(s.begin(), s.end(), static_cast<float>(p % 2)); }},
      {"slowly drifting",
       [=](int64_t, const ExpertCounts&, std::vector<float>& s) {
         for (size_t e = 0; e < s.size(); ++e)
           s[e] = Sigmoid((*state)[e] = 0.995 * (*state)[e] + 0.3 * (*normal)(*random));
       }},
      {"sine of 700 tokens",
       [](int64_t p, const ExpertCounts&, std::vector<float>& s) {
         for (size_t e = 0; e < s.size(); ++e)
           s[e] = Sigmoid(4 * std::sin(static_cast<double>(p) / 111 + static_cast<double>(e)));
       }},
      {"random blocks of 7", blocks(7)},
      {"random blocks of 40", blocks(40)},
      {"random blocks of 700", blocks(700)},
      {"seesaw", seesaw(kWindowTokens, 0)},
      {"seesaw, other phase", seesaw(kWindowTokens, 1)},
      {"fast seesaw", seesaw(90, 0)},
      {"against whoever is behind",
       [](int64_t, const ExpertCounts& so_far, std::vector<float>& s) {
         for (size_t e = 0; e < s.size(); ++e)
           s[e] = so_far.count[e] * static_cast<int64_t>(s.size()) > so_far.total ? 1.0f : 0.0f;
       }},
  };
}

const char* const kRatios[] = {"3:1:6", "5:3:2", "1:1:1",    "0:1:0", "1:0:1",   "0:1:3",           "97:2:1",
                               "1:0:0", "0:0:1", "1:99:900", "1:1",   "1:2:3:4", "1:1:1:1:1:1:1:1", "0:5:0:1:0:0:3:0"};

TEST(DecodeRouterTest, TracksTheRatioWithinTwoPointsOverAnyTwoThousandTokensWhateverTheScores) {
  constexpr int64_t kTokens = 4 * kWindowTokens;
  for (const char* text : kRatios) {
    const Ratio ratio = R(text);
    for (const bool calibrated : {true, false}) {
      const auto router = MakeRouter(ratio, calibrated);
      for (const NamedScores& stream : ScoreStreams(17)) {
        SCOPED_TRACE(absl::StrCat(text, calibrated ? "" : " uncalibrated", ", scores ", stream.name));
        ExpertCounts counts = NextQuota(ratio, {}, 37);  // a prompt
        std::vector<ExpertCounts> history = {counts};
        std::vector<float> scores(ratio.num_experts());
        double worst = 0;
        for (int64_t n = 0; n < kTokens; ++n) {
          stream.scores(n, counts, scores);
          counts.Add(router->Route(0, scores, counts));
          history.push_back(counts);
          if (n + 1 < kWindowTokens) continue;
          for (int e = 0; e < ratio.num_experts(); ++e) {
            const int64_t taken = counts.count[e] - history[n + 1 - kWindowTokens].count[e];
            worst = std::max(worst, std::fabs(static_cast<double>(taken) / kWindowTokens - ratio.share(e)));
          }
        }
        EXPECT_LE(worst, kPromisedPoints);
        for (int e = 0; e < ratio.num_experts(); ++e) {
          if (ratio.ppm(e) == 0) {
            EXPECT_EQ(counts.count[e], 0) << "expert " << e << " has no share";
          }
        }
      }
    }
  }
}

TEST(DecodeRouterTest, NeverHoldsMoreThanMaxPrefixTokens) {
  std::mt19937_64 random(23);
  for (const char* text : kRatios) {
    const Ratio ratio = R(text);
    const auto router = MakeRouter(ratio);
    for (const int64_t prompt : {0, 1, 2, 5, 16, 100, 257}) {
      for (const NamedScores& stream : ScoreStreams(prompt + 1)) {
        SCOPED_TRACE(absl::StrCat(text, ", prompt ", prompt, ", scores ", stream.name));
        ExpertCounts counts = NextQuota(ratio, {}, prompt);
        std::vector<float> scores(ratio.num_experts());
        for (int64_t decoded = 0; decoded <= 400; ++decoded) {
          int64_t held = 0;
          for (int j = 0; j < ratio.num_experts(); ++j) {
            held += counts.count[j];
            ASSERT_LE(held, router->MaxPrefixTokens(j, prompt, decoded))
                << "experts 0.." << j << " after " << decoded << " decoded";
          }
          ASSERT_EQ(router->MaxPrefixTokens(ratio.num_experts() - 1, prompt, decoded), prompt + decoded);
          stream.scores(decoded, counts, scores);
          counts.Add(router->Route(0, scores, counts));
        }
      }
    }
  }
}

TEST(DecodeRouterTest, ArgmaxNeverHoldsMoreThanMaxPrefixTokens) {
  for (const char* text : kRatios) {
    DecodeRouter::Options options;
    options.num_layers = 1;
    options.ratio = R(text);
    options.rule = DecodeRule::kArgmax;
    const auto router = *DecodeRouter::Create(options);
    for (const int64_t prompt : {0, 3, 100}) {
      for (int favourite = 0; favourite < options.ratio.num_experts(); ++favourite) {
        std::vector<float> scores(options.ratio.num_experts(), 0.1f);
        scores[favourite] = 0.9f;
        ExpertCounts counts = NextQuota(options.ratio, {}, prompt);
        for (int64_t decoded = 0; decoded <= 100; ++decoded) {
          int64_t held = 0;
          for (int j = 0; j < options.ratio.num_experts(); ++j) {
            held += counts.count[j];
            ASSERT_LE(held, router->MaxPrefixTokens(j, prompt, decoded)) << text;
          }
          const int expert = router->Route(0, scores, counts);
          ASSERT_EQ(expert, favourite);
          counts.Add(expert);
        }
      }
    }
  }
}

TEST(DecodeRouterTest, MaxPrefixTokensIsMonotone) {
  for (const DecodeRule rule : {DecodeRule::kThreshold, DecodeRule::kArgmax}) {
    for (const char* text : kRatios) {
      DecodeRouter::Options options;
      options.num_layers = 1;
      options.ratio = R(text);
      options.rule = rule;
      const auto router = *DecodeRouter::Create(options);
      const auto bound = [&](int e, int64_t prompt, int64_t decoded) {
        return router->MaxPrefixTokens(e, prompt, decoded);
      };
      for (int e = 0; e < options.ratio.num_experts(); ++e) {
        for (int64_t prompt = 0; prompt < 60; ++prompt) {
          for (int64_t decoded = 0; decoded < 60; ++decoded) {
            const int64_t here = bound(e, prompt, decoded);
            ASSERT_GE(here, 0);
            ASSERT_LE(here, prompt + decoded);
            ASSERT_LE(here, bound(e, prompt + 1, decoded)) << text;
            ASSERT_LE(here, bound(e, prompt, decoded + 1)) << text;
            if (e + 1 < options.ratio.num_experts()) {
              ASSERT_LE(here, bound(e + 1, prompt, decoded)) << text;
            }
          }
        }
      }
    }
  }
}

// A sequence whose counts came from another ratio or rule is led back.
TEST(DecodeRouterTest, LeadsBackFromForeignCounts) {
  const Ratio ratio = R("3:1:6");
  const auto router = MakeRouter(ratio);
  for (int all_in = 0; all_in < 3; ++all_in) {
    for (const NamedScores& stream : ScoreStreams(5)) {
      ExpertCounts counts;
      for (int i = 0; i < 300; ++i) counts.Add(all_in);
      std::vector<float> scores(3);
      for (int64_t n = 0; n < 6000; ++n) {
        stream.scores(n, counts, scores);
        counts.Add(router->Route(0, scores, counts));
      }
      for (int e = 0; e < 3; ++e) {
        EXPECT_NEAR(static_cast<double>(counts.count[e]) / static_cast<double>(counts.total), ratio.share(e), 0.01)
            << "from " << all_in << ", scores " << stream.name;
      }
    }
  }
}

// On text like the calibration text, the expert is a matter of score: the tokens of expert 0 score higher for it.
TEST(DecodeRouterTest, PrefersHighScores) {
  const Ratio ratio = R("3:1:6");
  const auto router = MakeRouter(ratio);
  const std::vector<float> text = Calibration(3, 4000, 99);
  std::vector<uint8_t> offline(4000);
  ProgressiveTopK(text, 3, NextQuota(ratio, {}, 4000), absl::MakeSpan(offline));
  ExpertCounts counts;
  int64_t same = 0;
  for (int64_t t = 0; t < 4000; ++t) {
    const int expert = router->Route(0, absl::MakeConstSpan(text).subspan(t * 3, 3), counts);
    counts.Add(expert);
    same += expert == offline[t];
  }
  EXPECT_GE(same, 3600) << "of 4000 tokens routed as progressive top-k over the whole text would";
}

TEST(DecodeRouterTest, LayersHaveTheirOwnThresholds) {
  DecodeRouter::Options options;
  options.num_layers = 2;
  options.ratio = R("1:1");
  options.calibration = {{0.1f, 0, 0.2f, 0, 0.3f, 0, 0.4f, 0}, {0.6f, 0, 0.7f, 0, 0.8f, 0, 0.9f, 0}};
  const auto router = *DecodeRouter::Create(options);
  const std::vector<float> scores = {0.5f, 0.5f};
  const ExpertCounts counts = NextQuota(options.ratio, {}, 7);
  EXPECT_EQ(router->Route(0, scores, counts), 0);
  EXPECT_EQ(router->Route(1, scores, counts), 1);
}

TEST(DecodeRouterTest, ArgmaxIgnoresCounts) {
  DecodeRouter::Options options;
  options.num_layers = 1;
  options.ratio = R("3:1:6");
  options.rule = DecodeRule::kArgmax;
  const auto router = *DecodeRouter::Create(options);
  ExpertCounts counts;
  for (int i = 0; i < 1000; ++i) counts.Add(1);
  EXPECT_EQ(router->Route(0, std::vector<float>{0.2f, 0.9f, 0.3f}, counts), 1);
  EXPECT_EQ(router->Route(0, std::vector<float>{0.9f, 0.9f, 0.3f}, counts), 0);
}

TEST(DecodeRouterTest, RefusesBadCalibration) {
  DecodeRouter::Options options;
  options.ratio = R("3:1:6");
  const auto message = [&options] {
    const auto router = DecodeRouter::Create(options);
    EXPECT_EQ(router.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(router.status().message());
  };
  EXPECT_THAT(message(), HasSubstr("num_layers 0"));
  options.num_layers = 2;
  options.calibration = {{}};
  EXPECT_THAT(message(), HasSubstr("1 layers"));
  options.calibration = {{}, {0.1f, 0.2f}};
  EXPECT_THAT(message(), HasSubstr("layer 1"));
  options.calibration = {{0.1f, 0.2f, std::numeric_limits<float>::infinity()}, {}};
  EXPECT_THAT(message(), HasSubstr("layer 0"));
  options.calibration = {{0.1f, 0.2f, 0.3f}, {}};
  EXPECT_TRUE(DecodeRouter::Create(options).ok());
}

}  // namespace
}  // namespace ration
