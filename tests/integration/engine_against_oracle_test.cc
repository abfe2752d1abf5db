// The serving model (pages, packed weights, vector kernels) against the oracle (tools/train: plain LibTorch over whole sequences, no
// cache) in float32: the same routes, the same logits within rounding, the same greedy tokens, at trained and odd ratios, for prompts
// from one token to several windows. On a random checkpoint and on the shipped default model.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/model_factory.h"
#include "engine/weights/checkpoint.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/testing/sequence_runner.h"
#include "tests/testing/tiny_checkpoint.h"
#include "tools/train/llama_forward.h"
#include "tools/train/llama_weights.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

using testing::SequenceRunner;

constexpr char kDefaultModel[] = "deploy/models/stories-mixsga";

struct Param {
  bool default_model;
  const char* ratio;
};

class EngineAgainstOracleTest : public ::testing::TestWithParam<Param> {
 protected:
  void SetUp() override {
    std::string directory = kDefaultModel;
    if (!GetParam().default_model) {
      files_ = std::make_unique<TinyCheckpoint>();
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
    auto weights = LoadLlamaWeights(*checkpoint_);
    ASSERT_TRUE(weights.ok()) << weights.status();
    oracle_ = *std::move(weights);
    window_ = config.mixsga->routing_window;
  }

  std::vector<int32_t> RandomTokens(int64_t count) {
    std::mt19937_64 random(count);
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % serving_->config.vocab_size);
    return tokens;
  }

  // What the oracle says of `tokens`, the first `prompt` of them routed as prefill.
  struct Answer {
    at::Tensor logits;                         // [T, V]
    std::vector<std::vector<uint8_t>> routes;  // [layers][T]
  };
  Answer Ask(const std::vector<int32_t>& tokens, int64_t prompt) {
    const std::shared_ptr<const DecodeRouter> router(serving_->router.get(), [](const DecodeRouter*) {});
    ForwardOptions options;
    options.route = DecodeRoutes(router, prompt, window_);
    std::vector<LayerRouting> routing;
    options.routing = &routing;
    const at::Tensor ids = at::tensor(std::vector<int64_t>(tokens.begin(), tokens.end())).unsqueeze(0);
    at::NoGradGuard no_grad;
    Answer answer;
    answer.logits = LlamaForward(oracle_, ids, options)[0];
    for (const LayerRouting& layer : routing) {
      const at::Tensor experts = layer.experts[0].to(at::kByte).contiguous();
      answer.routes.emplace_back(experts.data_ptr<uint8_t>(), experts.data_ptr<uint8_t>() + experts.numel());
    }
    return answer;
  }

  // float32 rounding through the layers; larger logits carry larger errors.
  static void ExpectClose(const at::Tensor& got, const at::Tensor& want, const std::string& what) {
    ASSERT_EQ(got.sizes(), want.sizes()) << what;
    const float tolerance = 2e-4f * std::max(1.0f, want.abs().max().item<float>() / 10);
    EXPECT_LE((got - want).abs().max().item<float>(), tolerance) << what;
  }

  kernels::cpu::ThreadPool pool_{2};
  std::unique_ptr<TinyCheckpoint> files_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<ServingModel> serving_;
  std::unique_ptr<KvCacheManager> cache_;
  LlamaWeights oracle_;
  int64_t window_ = 0;
};

TEST_P(EngineAgainstOracleTest, PrefillRoutesAndLogitsAreEqual) {
  const int64_t context = std::min<int64_t>(serving_->config.max_positions, 8 * window_);
  for (int64_t length : {int64_t{1}, int64_t{2}, window_ - 1, window_, window_ + 1, context - 3, context}) {
    const std::vector<int32_t> tokens = RandomTokens(length);
    SequenceRunner runner(serving_.get(), cache_.get());
    const at::Tensor logits = runner.Prefill(tokens, window_);
    const Answer answer = Ask(tokens, length);
    EXPECT_EQ(runner.routes(), answer.routes) << length << " tokens";
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
    const Answer answer = Ask(tokens, prompt);
    EXPECT_EQ(runner.routes(), answer.routes) << prompt << " tokens";
    ExpectClose(at::stack(rows), answer.logits.narrow(0, prompt - 1, 65), absl::StrCat(prompt, " tokens"));
    for (int i = 0; i < 64; ++i) {
      EXPECT_EQ(answer.logits[prompt - 1 + i].argmax().item<int64_t>(), tokens[prompt + i]) << "step " << i;
    }
  }
}

std::vector<Param> Params() {
  std::vector<Param> params;
  for (bool default_model : {false, true}) {
    for (const char* ratio : {"1:0:0", "3:1:6", "0:1:0", "0:0:1", "5:3:2"}) params.push_back({default_model, ratio});
  }
  return params;
}

INSTANTIATE_TEST_SUITE_P(Ratios, EngineAgainstOracleTest, ::testing::ValuesIn(Params()), [](const auto& info) {
  std::string name = absl::StrCat(info.param.default_model ? "default_" : "random_", info.param.ratio);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
});

}  // namespace
}  // namespace ration
