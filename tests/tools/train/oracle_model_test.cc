// The oracle itself is checked against other people's implementations (golden data, where it is at hand) and against
// what must hold of any right implementation.
#include "tools/train/oracle_model.h"

#include <ATen/ATen.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "engine/router/routing.h"
#include "engine/weights/safetensors.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

std::unique_ptr<OracleModel> Load(const std::string& directory) {
  auto model = OracleModel::Open(directory);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::vector<int32_t> SomeTokens(int64_t count, int64_t vocab) {
  std::vector<int32_t> tokens(count);
  uint32_t state = 12345;
  for (int32_t& token : tokens) token = static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 8) % vocab;
  return tokens;
}

OracleModel::Output MustForward(const OracleModel& model, const std::vector<int32_t>& tokens,
                                const OracleModel::Options& options) {
  auto output = model.Forward(tokens, options);
  EXPECT_TRUE(output.ok()) << output.status();
  return output.ok() ? *std::move(output) : OracleModel::Output();
}

OracleModel::Options AtRatio(const char* text) {
  OracleModel::Options options;
  options.ratio = *Ratio::Parse(text, 3);
  return options;
}

double MaxDifference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

std::string SharedDirectory() {
  const char* shared = std::getenv("RATION_SHARED");
  return shared == nullptr ? "" : shared;
}

nlohmann::json ReadJson(const std::string& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
}

class GoldenGreedy : public testing::TestWithParam<const char*> {};

TEST_P(GoldenGreedy, TokensEqualAnIndependentImplementation) {
  if (SharedDirectory().empty()) GTEST_SKIP() << "RATION_SHARED is not set: the real checkpoints are not at hand";
  const std::string directory = SharedDirectory() + "/data/models/" + GetParam();
  const nlohmann::json golden = ReadJson(directory + "/golden.json");
  ASSERT_TRUE(golden.is_object()) << directory;
  const auto model = Load(directory);
  ASSERT_NE(model, nullptr);
  const std::vector<int32_t> wanted = golden["greedy_ids"];
  const auto tokens =
      model->Greedy(golden["prompt_ids"].get<std::vector<int32_t>>(), static_cast<int64_t>(wanted.size()), {});
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(*tokens, wanted);
}

INSTANTIATE_TEST_SUITE_P(RealModels, GoldenGreedy, testing::Values("stories260K-hf", "tinystories-656k"));

class GoldenLogits : public testing::TestWithParam<const char*> {};

TEST_P(GoldenLogits, EqualTransformersWithinTolerance) {
  if (SharedDirectory().empty()) GTEST_SKIP() << "RATION_SHARED is not set: the golden logits are not at hand";
  const std::string directory = SharedDirectory() + "/golden/logits/" + GetParam();
  const nlohmann::json golden = ReadJson(directory + "/golden-fp32.json");
  const auto arrays = SafetensorsFile::Open(directory + "/golden-fp32.safetensors");
  ASSERT_TRUE(arrays.ok()) << arrays.status();
  const auto model = Load(directory + "/fp32");
  ASSERT_NE(model, nullptr);
  for (const nlohmann::json& prompt : golden["prompts"]) {
    const std::string name = prompt["name"];
    SCOPED_TRACE(name);
    const std::vector<int32_t> ids = prompt["input_ids"];
    const OracleModel::Output output = MustForward(*model, ids, {});
    const SafetensorsFile::TensorInfo* info = (*arrays)->Find(name + ".logits");
    ASSERT_NE(info, nullptr);
    const at::Tensor wanted = at::from_blob(const_cast<uint8_t*>(info->data), info->shape, at::kFloat).clone();
    ASSERT_EQ(output.logits.sizes(), wanted.sizes());
    EXPECT_LE(MaxDifference(output.logits, wanted), 2e-4);
    const std::vector<int32_t> greedy = prompt["greedy"];
    const auto tokens = model->Greedy(ids, static_cast<int64_t>(greedy.size()), {});
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(*tokens, greedy);
  }
}

INSTANTIATE_TEST_SUITE_P(TinyModels, GoldenLogits,
                         testing::Values("llama3-tiny", "llama3-tiny-hd16", "tinyllama-tiny", "llama-mha-tiny"));

class RoutedOracle : public testing::Test {
 protected:
  RoutedOracle() : checkpoint_(TinyCheckpointOptions()), model_(Load(checkpoint_.directory())) {}

  const TinyCheckpoint checkpoint_;  // windows of 16 tokens
  const std::unique_ptr<OracleModel> model_;
};

TEST_F(RoutedOracle, AllToTheFirstExpertEqualsThePlainModel) {
  TinyCheckpointOptions plain;
  plain.group_sizes = {};
  const TinyCheckpoint plain_checkpoint(plain);
  const auto plain_model = Load(plain_checkpoint.directory());
  const std::vector<int32_t> tokens = SomeTokens(40, 384);
  const at::Tensor wanted = MustForward(*plain_model, tokens, {}).logits;
  EXPECT_EQ(MaxDifference(MustForward(*model_, tokens, AtRatio("1:0:0")).logits, wanted), 0);
  EXPECT_GT(MaxDifference(MustForward(*model_, tokens, AtRatio("0:0:1")).logits, wanted), 1e-3);
}

TEST_F(RoutedOracle, EveryWindowHoldsTheQuota) {
  const std::vector<int32_t> tokens = SomeTokens(41, 384);
  const OracleModel::Output output = MustForward(*model_, tokens, AtRatio("3:1:6"));
  const Ratio ratio = *Ratio::Parse("3:1:6", 3);
  for (const std::vector<uint8_t>& layer : output.routes) {
    ExpertCounts counts, wanted;
    for (size_t t = 0; t < layer.size(); ++t) {
      if (t % 16 == 0) {
        const ExpertCounts quota = NextQuota(ratio, wanted, std::min<int64_t>(16, 41 - static_cast<int64_t>(t)));
        for (int e = 0; e < 3; ++e) wanted.count[e] += quota.count[e];
        wanted.total += quota.total;
      }
      counts.Add(layer[t]);
      if (t % 16 == 15 || t + 1 == layer.size()) {
        EXPECT_EQ(counts.count, wanted.count) << "after token " << t;
      }
    }
  }
}

TEST_F(RoutedOracle, ToldItsOwnRoutesItGivesTheSameLogits) {
  const std::vector<int32_t> tokens = SomeTokens(40, 384);
  const OracleModel::Output made = MustForward(*model_, tokens, AtRatio("3:1:6"));
  OracleModel::Options told;
  told.told_routes = made.routes;
  const OracleModel::Output again = MustForward(*model_, tokens, told);
  EXPECT_EQ(MaxDifference(made.logits, again.logits), 0);
  EXPECT_EQ(again.routes, made.routes);
  told.told_routes[0][39] = told.told_routes[0][39] == 0 ? 2 : 0;
  EXPECT_GT(MaxDifference(MustForward(*model_, tokens, told).logits, made.logits), 0);
}

TEST_F(RoutedOracle, LaterTokensDoNotChangeEarlierDecodedOnes) {
  const std::vector<int32_t> tokens = SomeTokens(60, 384);
  OracleModel::Options options = AtRatio("3:1:6");
  options.prompt_tokens = 21;
  const OracleModel::Output all = MustForward(*model_, tokens, options);
  const OracleModel::Output some = MustForward(*model_, {tokens.begin(), tokens.begin() + 50}, options);
  EXPECT_LE(MaxDifference(all.logits.narrow(0, 0, 50), some.logits), 1e-5);
  for (size_t layer = 0; layer < some.routes.size(); ++layer) {
    EXPECT_TRUE(std::equal(some.routes[layer].begin(), some.routes[layer].end(), all.routes[layer].begin()));
  }
}

TEST_F(RoutedOracle, BadArgumentsAreNamed) {
  EXPECT_EQ(model_->Forward({}, {}).status().code(), absl::StatusCode::kInvalidArgument);
  const std::vector<int32_t> bad = {1, 384};
  EXPECT_NE(std::string(model_->Forward(bad, {}).status().message()).find("tokens[1] = 384"), std::string::npos);
  OracleModel::Options told;
  told.told_routes = {{0, 0}, {0, 3}};
  const std::vector<int32_t> two = {1, 2};
  EXPECT_EQ(model_->Forward(two, told).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(OracleVariants, BiasesUntiedHeadsAndAnyHeadSizeLoad) {
  TinyCheckpointOptions options;
  options.tied = false;
  options.attention_bias = options.mlp_bias = true;
  options.head_dim = 6;
  options.llama3_rope = true;
  const TinyCheckpoint checkpoint(options);
  const auto model = Load(checkpoint.directory());
  ASSERT_NE(model, nullptr);
  const OracleModel::Output output = MustForward(*model, SomeTokens(20, 384), AtRatio("3:1:6"));
  EXPECT_TRUE(at::isfinite(output.logits).all().item<bool>());
}

}  // namespace
}  // namespace ration
