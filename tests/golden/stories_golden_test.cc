// The engine's first-step logits and 64 greedy tokens on two trained TinyStories checkpoints against an independent numpy
// implementation's (golden.json beside each), in float32 at full KV: prefilled at once and token by token.
// Needs RATION_SHARED (the checkpoints are not part of the tree).
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/model_factory.h"
#include "engine/weights/checkpoint.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/testing/sequence_runner.h"

namespace ration {
namespace {

class StoriesGoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("RATION_SHARED");
    if (shared == nullptr) GTEST_SKIP() << "RATION_SHARED is not set: the trained checkpoints are not here";
    const std::string directory = absl::StrCat(shared, "/data/models/", GetParam());
    auto checkpoint = Checkpoint::Open(directory);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    ModelOptions options;
    options.kv_budget_bytes = 64 << 20;
    auto serving = BuildServingModel(**checkpoint, (*checkpoint)->config(), options, &pool_);
    ASSERT_TRUE(serving.ok()) << serving.status();
    serving_ = std::make_unique<ServingModel>(*std::move(serving));
    cache_ = std::make_unique<KvCacheManager>(*serving_->spec, serving_->num_pages);
    std::ifstream file(directory + "/golden.json");
    const nlohmann::json golden = nlohmann::json::parse(file);
    prompt_ = golden["prompt_ids"].get<std::vector<int32_t>>();
    greedy_ = golden["greedy_ids"].get<std::vector<int32_t>>();
    first_logits_ = golden["first_logits"].get<std::vector<float>>();
    ASSERT_EQ(greedy_.size(), 64u);
  }

  kernels::cpu::ThreadPool pool_{2};
  std::unique_ptr<ServingModel> serving_;
  std::unique_ptr<KvCacheManager> cache_;
  std::vector<int32_t> prompt_, greedy_;
  std::vector<float> first_logits_;
};

TEST_P(StoriesGoldenTest, FirstLogitsAndGreedyTokensMatch) {
  for (int64_t chunk : {0, 1, 3}) {
    testing::SequenceRunner runner(serving_.get(), cache_.get());
    at::Tensor logits = runner.Prefill(prompt_, chunk)[-1];
    for (size_t i = 0; i < first_logits_.size(); ++i) {
      // golden.json holds five decimals; float32 rounding of logits up to 20 through a few layers adds some 1e-5.
      ASSERT_NEAR(logits.data_ptr<float>()[i], first_logits_[i], 2e-4) << "token " << i;
    }
    for (size_t i = 0; i < greedy_.size(); ++i) {
      const int32_t token = testing::Argmax(logits);
      ASSERT_EQ(token, greedy_[i]) << "step " << i << ", prefilled in chunks of " << chunk;
      logits = runner.Decode(token);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shared, StoriesGoldenTest, ::testing::Values("stories260K-hf", "tinystories-656k"),
                         [](const auto& info) { return std::string(info.param).substr(0, 7) == "stories" ? "stories260K" : "tinystories656k"; });

}  // namespace
}  // namespace ration
