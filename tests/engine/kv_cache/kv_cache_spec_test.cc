#include "engine/kv_cache/kv_cache_spec.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/router/routing.h"

namespace ration {
namespace {

KvCacheSpec::Options BaseOptions() {
  KvCacheSpec::Options options;
  options.num_layers = 16;
  options.num_kv_heads = 8;
  options.head_dim = 64;
  options.dtype = kernels::DType::kBF16;
  options.experts = *ExpertSpec::Create({1, 2, 4}, 8);
  return options;
}

std::unique_ptr<const DecodeRouter> MakeRouter(const Ratio& ratio, DecodeRule rule = DecodeRule::kThreshold) {
  DecodeRouter::Options options;
  options.num_layers = 1;
  options.ratio = ratio;
  options.rule = rule;
  return *DecodeRouter::Create(options);
}

TEST(KvCacheSpec, GeometryOfTheDefaultPage) {
  const KvCacheSpec spec = *KvCacheSpec::Create(BaseOptions());
  EXPECT_EQ(spec.bytes_per_token_layer(0), 2 * 8 * 64 * 2);
  EXPECT_EQ(spec.bytes_per_token_layer(2), 2 * 2 * 64 * 2);
  EXPECT_EQ(spec.bytes_per_token(0), 16 * 2048);
  EXPECT_EQ(spec.page_bytes(), 8 * 2048);  // eight tokens of the largest expert
  EXPECT_EQ(spec.slots_per_page(0), 8);
  EXPECT_EQ(spec.slots_per_page(1), 16);
  EXPECT_EQ(spec.slots_per_page(2), 32);
  EXPECT_EQ(spec.num_layers(), 16);
  EXPECT_EQ(spec.num_experts(), 3);
}

TEST(KvCacheSpec, OddShapesRoundThePageUpAndTheSlotsDown) {
  KvCacheSpec::Options options = BaseOptions();
  options.num_kv_heads = 3;
  options.head_dim = 10;
  options.dtype = kernels::DType::kF32;
  options.experts = *ExpertSpec::Create({1, 3}, 3);
  const KvCacheSpec spec = *KvCacheSpec::Create(options);
  EXPECT_EQ(spec.bytes_per_token_layer(0), 240);
  EXPECT_EQ(spec.page_bytes(), 1920);  // 8 * 240 is a multiple of 64
  EXPECT_EQ(spec.slots_per_page(1), 24);
  options.page_bytes = 256;
  const KvCacheSpec tight = *KvCacheSpec::Create(options);
  EXPECT_EQ(tight.slots_per_page(0), 1);
  EXPECT_EQ(tight.slots_per_page(1), 3);
}

TEST(KvCacheSpec, RefusalsNameOptionLimitAndValue) {
  const auto message = [](const KvCacheSpec::Options& options) {
    return std::string(KvCacheSpec::Create(options).status().message());
  };
  KvCacheSpec::Options options = BaseOptions();
  options.num_layers = 0;
  EXPECT_EQ(message(options), "KV cache: num_layers must be between 1 and 65536, not 0");
  options = BaseOptions();
  options.head_dim = -4;
  EXPECT_EQ(message(options), "KV cache: head_dim must be between 1 and 65536, not -4");
  options = BaseOptions();
  options.num_kv_heads = 6;
  EXPECT_EQ(message(options), "KV cache: group size 4 does not divide the 6 key/value heads");
  options = BaseOptions();
  options.page_bytes = 1984;
  EXPECT_EQ(message(options), "KV cache: page_bytes must hold a token of the largest expert, 2048 bytes, not 1984");
  for (int64_t bytes : {int64_t{2050}, int64_t{-64}, int64_t{1} << 31}) {
    options.page_bytes = bytes;
    EXPECT_EQ(message(options),
              absl::StrCat("KV cache: page_bytes must be a multiple of 64 between 64 and 1073741824, not ", bytes));
  }
}

// The most pages any split of `total` tokens over three experts can take in one layer, by trying every split that keeps
// the router's promises.
int64_t BruteForcePages(const KvCacheSpec& spec, const DecodeRouter& router, int64_t prompt, int64_t decoded) {
  const int64_t total = prompt + decoded;
  const bool argmax = router.rule() == DecodeRule::kArgmax;
  int64_t most = 0;
  for (int64_t first = 0; first <= router.MaxPrefixTokens(0, prompt, decoded); ++first) {
    for (int64_t second = 0; first + second <= router.MaxPrefixTokens(1, prompt, decoded); ++second) {
      const int64_t counts[3] = {first, second, total - first - second};
      if (counts[2] < 0) break;
      int64_t pages = 0;
      bool possible = true;
      for (int e = 0; e < 3; ++e) {
        possible = possible && (argmax || counts[e] == 0 || router.ratio().ppm(e) > 0);
        pages += (counts[e] + spec.slots_per_page(e) - 1) / spec.slots_per_page(e);
      }
      if (possible) most = std::max(most, pages);
    }
  }
  return most;
}

TEST(KvCacheSpec, WorstCasePagesBoundsEverySplitAndIsTight) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    KvCacheSpec::Options options = BaseOptions();
    options.num_layers = 1 + random() % 3;
    options.num_kv_heads = 4 << (random() % 3);
    options.head_dim = 1 + static_cast<int64_t>(random() % 40);
    options.experts = *ExpertSpec::Create({1, 2, 4}, static_cast<int>(options.num_kv_heads));
    const int64_t token = 4 * options.num_kv_heads * options.head_dim;
    options.page_bytes = (token * (1 + static_cast<int64_t>(random() % 9)) + 63) / 64 * 64;
    const KvCacheSpec spec = *KvCacheSpec::Create(options);
    const auto weight = [&] { return static_cast<double>(random() % 3 == 0 ? 0 : random() % 10); };
    std::vector<double> weights = {weight(), weight(), weight()};
    if (weights[0] + weights[1] + weights[2] == 0) weights[random() % 3] = 1;
    const auto router =
        MakeRouter(*Ratio::FromWeights(weights), random() % 3 == 0 ? DecodeRule::kArgmax : DecodeRule::kThreshold);
    const int64_t prompt = static_cast<int64_t>(random() % 60), decoded = static_cast<int64_t>(random() % 60);
    const int64_t bound = spec.WorstCasePages(*router, prompt, decoded);
    const int64_t exact = BruteForcePages(spec, *router, prompt, decoded) * spec.num_layers();
    ASSERT_GE(bound, exact) << router->ratio().ToString() << " " << prompt << "+" << decoded << " page "
                            << options.page_bytes;
    // At most the rounding of each expert's tail above what can happen.
    ASSERT_LE(bound, exact + 2 * spec.num_layers()) << router->ratio().ToString() << " " << prompt << "+" << decoded;
    ASSERT_LE(bound, spec.WorstCasePages(*router, prompt + 1, decoded));
    ASSERT_LE(bound, spec.WorstCasePages(*router, prompt, decoded + 1));
  }
}

TEST(KvCacheSpec, WorstCasePagesOfNothingIsNothing) {
  const KvCacheSpec spec = *KvCacheSpec::Create(BaseOptions());
  EXPECT_EQ(spec.WorstCasePages(*MakeRouter(*Ratio::Parse("3:1:6", 3)), 0, 0), 0);
  // Everything at one expert: exactly its pages, no tail for the experts that get nothing.
  const auto full = MakeRouter(Ratio::AllTo(0, 3));
  EXPECT_EQ(spec.WorstCasePages(*full, 100, 28), 16 * 128 / 8);
  EXPECT_EQ(spec.WorstCasePages(*full, 100, 29), 16 * (128 / 8 + 1));
  const auto cheapest = MakeRouter(Ratio::AllTo(2, 3));
  EXPECT_EQ(spec.WorstCasePages(*cheapest, 100, 28), 16 * 128 / 32);
}

// Routes one layer of one sequence with scores drawn to be awkward and returns the most pages it ever held.
int64_t RoutedPages(const KvCacheSpec& spec, const DecodeRouter& router, int64_t prompt, int64_t decoded, int kind,
                    uint32_t seed) {
  std::mt19937 random(seed);
  ExpertCounts counts = NextQuota(router.ratio(), {}, prompt);
  for (int64_t t = 0; t < decoded; ++t) {
    const bool burst = t / 50 % 2 == 0;
    std::vector<float> scores(3);
    for (int e = 0; e < 3; ++e) {
      const float uniform = static_cast<float>(random() % 1000) / 1000.0f;
      scores[e] = kind == 0 ? uniform : kind == 1 ? (e == 0) : kind == 2 ? (e == 2) : (e == (burst ? 0 : 2));
    }
    counts.Add(router.Route(0, scores, counts));
  }
  int64_t pages = 0;
  for (int e = 0; e < 3; ++e) pages += (counts.count[e] + spec.slots_per_page(e) - 1) / spec.slots_per_page(e);
  return pages;
}

TEST(KvCacheSpec, NoScoresMakeTheRouterExceedWorstCasePages) {
  const KvCacheSpec spec = *KvCacheSpec::Create(BaseOptions());
  for (const char* ratio : {"3:1:6", "1:0:0", "0:1:0", "0:0:1", "5:3:2", "0:1:9", "1:0:9", "0.01:0.01:1"}) {
    for (DecodeRule rule : {DecodeRule::kThreshold, DecodeRule::kArgmax}) {
      const auto router = MakeRouter(*Ratio::Parse(ratio, 3), rule);
      for (int kind = 0; kind < 4; ++kind) {
        for (int64_t prompt : {0, 1, 7, 100, 513}) {
          for (int64_t decoded : {0, 1, 31, 400}) {
            ASSERT_LE(RoutedPages(spec, *router, prompt, decoded, kind, 5) * spec.num_layers(),
                      spec.WorstCasePages(*router, prompt, decoded))
                << ratio << " kind " << kind << " " << prompt << "+" << decoded;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace ration
