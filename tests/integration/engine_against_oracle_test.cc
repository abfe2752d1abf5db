// The serving model (pages, packed weights, vector kernels) against the oracle (tools/train: plain LibTorch over whole sequences, no
// cache) in float32: the same routes, the same logits within rounding, the same greedy tokens, at trained and odd ratios, for prompts
// from one token to several windows. On random checkpoints of every family, and on the shipped default model.
//
// A route is a comparison of two float32 scores, which the two sides sum in different orders. So a route counts as equal if the rules,
// applied to the oracle's own scores, give it when those scores move by no more than kScoreRounding; the oracle then goes on with the
// engine's routes, so that one near tie does not hide what follows it.
#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/base/check.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/model_factory.h"
#include "engine/router/routing.h"
#include "engine/weights/checkpoint.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/testing/family_checkpoint.h"
#include "tests/testing/sequence_runner.h"
#include "tools/train/oracle_model.h"

namespace ration {
namespace {

using testing::SequenceRunner;

constexpr float kScoreRounding = 1e-5f;  // of a sigmoid behind float32 sums through a few layers

constexpr char kDefaultModel[] = "deploy/models/stories-mixsga";

struct Param {
  std::optional<TestFamily> family;  // absent: the default model
  const char* ratio;
};

class EngineAgainstOracleTest : public ::testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    std::string directory = kDefaultModel;
    if (GetParam().family.has_value()) {
      FamilyCheckpointOptions options;
      options.routed = true;
      files_ = std::make_unique<FamilyCheckpoint>(*GetParam().family, options);
      directory = files_->directory();
    }
    auto checkpoint = Checkpoint::Open(directory);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
    const ModelConfig& config = checkpoint_->config();
    ModelOptions options;
    options.compute = kernels::DType::kF32;
    options.kv_budget_bytes = 64 << 20;
    options.ratio = *Ratio::Parse(GetParam().ratio, config.experts().num_experts());
    auto serving = BuildServingModel(*checkpoint_, config, options, &pool_);
    ASSERT_TRUE(serving.ok()) << serving.status();
    serving_ = std::make_unique<ServingModel>(*std::move(serving));
    cache_ = std::make_unique<KvCacheManager>(*serving_->spec, serving_->num_pages);
    auto oracle = OracleModel::Open(directory);
    ASSERT_TRUE(oracle.ok()) << oracle.status();
    oracle_ = *std::move(oracle);
    window_ = config.mixsga->routing_window;
  }

  std::vector<int32_t> RandomTokens(int64_t count) {
    std::mt19937_64 random(count);
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % serving_->config.vocab_size);
    return tokens;
  }

  // What the oracle says of `tokens` when it is told the routes [layers][T].
  struct Answer {
    at::Tensor logits;                       // [T, V]
    std::vector<std::vector<float>> scores;  // [layers][T * E]
  };
  Answer Ask(const std::vector<int32_t>& tokens, const std::vector<std::vector<uint8_t>>& routes) {
    OracleModel::Options options;
    options.told_routes = routes;
    const absl::StatusOr<OracleModel::Output> output = oracle_->Forward(tokens, options);
    RATION_CHECK(output.ok());
    Answer answer;
    answer.logits = output->logits;
    for (const at::Tensor& layer : output->scores) {
      const at::Tensor scores = layer.contiguous();
      answer.scores.emplace_back(scores.data_ptr<float>(), scores.data_ptr<float>() + scores.numel());
    }
    return answer;
  }

  // Checks every route of a sequence whose first `prompt` tokens were prefilled, against the oracle's scores.
  void ExpectRoutes(const std::vector<std::vector<uint8_t>>& routes, const Answer& answer, int64_t prompt) {
    ASSERT_EQ(routes.size(), answer.scores.size());
    for (size_t layer = 0; layer < routes.size(); ++layer) {
      const int64_t total = static_cast<int64_t>(routes[layer].size());
      ASSERT_EQ(answer.scores[layer].size(), static_cast<size_t>(total * 3));
      ExpertCounts counts;
      for (int64_t begin = 0; begin < prompt; begin += window_) {
        const int64_t size = std::min(window_, prompt - begin);
        ExpectProgressiveTopK(layer, routes[layer], answer.scores[layer], begin, size, counts);
      }
      for (int64_t t = prompt; t < total; ++t) {
        ExpectDecodeRoute(static_cast<int>(layer), routes[layer][t], &answer.scores[layer][t * 3], counts, t);
        counts.Add(routes[layer][t]);
      }
    }
  }

  // The window's counts are its quota exactly, and no token that expert e left scores higher for e than one that it took.
  void ExpectProgressiveTopK(size_t layer, const std::vector<uint8_t>& routes, const std::vector<float>& scores, int64_t begin,
                             int64_t size, ExpertCounts& counts) {
    const ExpertCounts quota = NextQuota(serving_->router->ratio(), counts, size);
    for (int e = 0; e < 3; ++e) {
      int64_t taken = 0;
      float lowest_taken = 2, highest_left = -1;
      for (int64_t t = begin; t < begin + size; ++t) {
        const float score = scores[t * 3 + e];
        if (routes[t] == e) {
          ++taken;
          lowest_taken = std::min(lowest_taken, score);
        } else if (routes[t] > e) {
          highest_left = std::max(highest_left, score);
        }
      }
      EXPECT_EQ(taken, quota.count[e]) << "layer " << layer << " window at " << begin << " expert " << e;
      if (taken > 0) {
        EXPECT_GE(lowest_taken, highest_left - kScoreRounding) << "layer " << layer << " window at " << begin;
      }
      counts.count[e] += taken;
    }
    counts.total += size;
    compared_ += size;
  }

  void ExpectDecodeRoute(int layer, uint8_t route, const float* scores, const ExpertCounts& counts, int64_t token) {
    ++compared_;
    if (serving_->router->Route(layer, absl::MakeConstSpan(scores, 3), counts) == route) return;
    ++near_ties_;
    bool explained = false;
    for (int signs = 0; signs < 8; ++signs) {
      float moved[3];
      for (int e = 0; e < 3; ++e) moved[e] = scores[e] + ((signs >> e & 1) != 0 ? kScoreRounding : -kScoreRounding);
      explained |= serving_->router->Route(layer, moved, counts) == route;
    }
    EXPECT_TRUE(explained) << "layer " << layer << " token " << token << " went to expert " << int{route};
  }

  // float32 rounding through the layers; larger logits carry larger errors.
  static void ExpectClose(const at::Tensor& got, const at::Tensor& want, const std::string& what) {
    ASSERT_EQ(got.sizes(), want.sizes()) << what;
    const float tolerance = 2e-4f * std::max(1.0f, want.abs().max().item<float>() / 10);
    EXPECT_LE((got - want).abs().max().item<float>(), tolerance) << what;
  }

  kernels::cpu::ThreadPool pool_{2};
  std::unique_ptr<FamilyCheckpoint> files_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<ServingModel> serving_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<OracleModel> oracle_;
  int64_t window_ = 0;
  int64_t compared_ = 0, near_ties_ = 0;  // routes
};

TEST_P(EngineAgainstOracleTest, PrefillRoutesAndLogitsAreEqual) {
  const int64_t context = std::min<int64_t>(serving_->config.max_positions, 8 * window_);
  for (int64_t length : {int64_t{1}, int64_t{2}, window_ - 1, window_, window_ + 1, context - 3, context}) {
    const std::vector<int32_t> tokens = RandomTokens(length);
    SequenceRunner runner(serving_.get(), cache_.get());
    const at::Tensor logits = runner.Prefill(tokens, window_);
    const Answer answer = Ask(tokens, runner.routes());
    ExpectRoutes(runner.routes(), answer, length);
    ExpectClose(logits, answer.logits, absl::StrCat(length, " tokens"));
  }
}

TEST_P(EngineAgainstOracleTest, GreedyContinuationsAreEqual) {
  for (int64_t prompt : {int64_t{1}, window_ / 2, window_ + 5}) {
    std::vector<int32_t> tokens = RandomTokens(prompt);
    SequenceRunner runner(serving_.get(), cache_.get());
    std::vector<at::Tensor> rows = {runner.Prefill(tokens, 0)[-1]};
    for (int i = 0; i < 64; ++i) {
      tokens.push_back(testing::Argmax(rows.back()));
      rows.push_back(runner.Decode(tokens.back()));
    }
    const Answer answer = Ask(tokens, runner.routes());
    ExpectRoutes(runner.routes(), answer, prompt);
    ExpectClose(at::stack(rows), answer.logits.narrow(0, prompt - 1, 65), absl::StrCat(prompt, " tokens"));
    for (int i = 0; i < 64; ++i) {
      EXPECT_EQ(answer.logits[prompt - 1 + i].argmax().item<int64_t>(), tokens[prompt + i]) << "step " << i;
    }
  }
  EXPECT_GT(compared_, 0);
  EXPECT_LE(near_ties_, compared_ / 200);  // or it is not rounding
}

std::vector<Param> Params() {
  std::vector<Param> params;
  std::vector<std::optional<TestFamily>> models = {std::nullopt};
  for (TestFamily family : AllTestFamilies()) models.emplace_back(family);
  for (const std::optional<TestFamily>& model : models) {
    for (const char* ratio : {"1:0:0", "3:1:6", "0:1:0", "0:0:1", "5:3:2"}) params.push_back({model, ratio});
  }
  return params;
}

INSTANTIATE_TEST_SUITE_P(Ratios, EngineAgainstOracleTest, ::testing::ValuesIn(Params()), [](const auto& info) {
  std::string name = absl::StrCat(info.param.family.has_value() ? Name(*info.param.family) : "Default", "_", info.param.ratio);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
});

}  // namespace
}  // namespace ration
