// A request's tokens do not depend on its company: alone or among others, at any concurrency and under any step size, at a fixed
// ratio; and the ratio that decode routing realises is the one asked for. Through the whole engine, on trained models.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/engine_factory.h"
#include "tests/testing/recording_sink.h"

namespace ration {
namespace {

using testing::RecordingSink;

constexpr char kDefaultModel[] = "deploy/models/stories-mixsga";

EngineFactoryOptions Options(const std::string& directory, const std::string& ratio) {
  EngineFactoryOptions options;
  options.directory = directory;
  options.ratio = ratio;
  options.kv_budget_bytes = 64 << 20;
  options.engine.budget_policy = BudgetPolicy::kStatic;
  options.threads = 2;
  options.engine.max_batched_tokens = 1024;
  options.engine.max_running_requests = 128;
  return options;
}

LoadedEngine Load(const EngineFactoryOptions& options) {
  absl::StatusOr<LoadedEngine> loaded = LoadEngine(options, Clock::Real());
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return *std::move(loaded);
}

GenerationRequest Request(const std::string& id, std::vector<int32_t> prompt, int64_t max_new_tokens, float temperature) {
  GenerationRequest request;
  request.request_id = id;
  request.prompt_tokens = std::move(prompt);
  request.sampling.temperature = temperature;
  request.sampling.seed = std::hash<std::string>()(id);
  request.stopping.max_new_tokens = max_new_tokens;
  request.stopping.ignore_eos = true;
  return request;
}

std::vector<int32_t> RandomPrompt(std::mt19937_64& random, int64_t length, int32_t vocab) {
  std::vector<int32_t> prompt(length);
  for (int32_t& token : prompt) token = static_cast<int32_t>(random() % vocab);
  return prompt;
}

// Requests of many lengths, greedy and sampled, the same for every call.
std::vector<GenerationRequest> MixedRequests(int count, int32_t vocab) {
  std::mt19937_64 random(7);
  std::vector<GenerationRequest> requests;
  for (int i = 0; i < count; ++i) {
    const int64_t length = 1 + static_cast<int64_t>(random() % 400);
    requests.push_back(Request(absl::StrCat("other-", i), RandomPrompt(random, length, vocab), 10 + random() % 90, i % 2 ? 1.0f : 0.0f));
  }
  return requests;
}

// Runs `requests`, `concurrency` of them at a time; the tokens of each.
std::vector<std::vector<int32_t>> RunAll(Engine& engine, const std::vector<GenerationRequest>& requests, size_t concurrency) {
  std::vector<std::unique_ptr<RecordingSink>> sinks;
  for (size_t i = 0; i < requests.size(); ++i) sinks.push_back(std::make_unique<RecordingSink>());
  size_t next = 0, done = 0;
  while (done < requests.size()) {
    for (; next < requests.size() && next - done < concurrency; ++next) {
      EXPECT_TRUE(engine.Submit(requests[next], sinks[next].get()).ok());
    }
    engine.Step();
    done = std::count_if(sinks.begin(), sinks.end(), [](const auto& sink) { return sink->finished(); });
  }
  EXPECT_EQ(engine.stats().kv_used_bytes, 0);
  EXPECT_EQ(engine.stats().kv_reserved_bytes, 0);
  std::vector<std::vector<int32_t>> tokens;
  for (const auto& sink : sinks) tokens.push_back(sink->token_ids());
  return tokens;
}

TEST(CompanyTest, TokensAreTheSameAtAnyConcurrencyAndStepSize) {
  for (const char* ratio : {"3:1:6", "0:1:0"}) {
    LoadedEngine reference = Load(Options(kDefaultModel, ratio));
    const std::vector<GenerationRequest> requests = MixedRequests(24, static_cast<int32_t>(reference.info.vocab_size));
    const auto alone = RunAll(*reference.engine, requests, 1);
    EXPECT_EQ(RunAll(*reference.engine, requests, 5), alone) << ratio;
    EXPECT_EQ(RunAll(*reference.engine, requests, 24), alone) << ratio;
    EngineFactoryOptions small = Options(kDefaultModel, ratio);
    small.engine.max_batched_tokens = 256 + 24;  // a window a step
    small.engine.max_running_requests = 24;
    small.threads = 1;
    EXPECT_EQ(RunAll(*Load(small).engine, requests, 24), alone) << ratio;
  }
}

class GoldenAmongOthersTest : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenAmongOthersTest, GreedyTokensAreGoldensAmong63OtherStreams) {
  const char* shared = std::getenv("RATION_SHARED");
  if (shared == nullptr) GTEST_SKIP() << "RATION_SHARED is not set: the trained checkpoints are not here";
  const std::string directory = absl::StrCat(shared, "/data/models/", GetParam());
  std::ifstream file(directory + "/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  LoadedEngine loaded = Load(Options(directory, ""));
  std::vector<GenerationRequest> requests = MixedRequests(63, static_cast<int32_t>(loaded.info.vocab_size));
  requests.insert(requests.begin() + 20, Request("golden", golden["prompt_ids"].get<std::vector<int32_t>>(), 64, 0.0f));
  const auto tokens = RunAll(*loaded.engine, requests, 64);
  EXPECT_EQ(tokens[20], golden["greedy_ids"].get<std::vector<int32_t>>());
}

INSTANTIATE_TEST_SUITE_P(Shared, GoldenAmongOthersTest, ::testing::Values("stories260K-hf", "tinystories-656k"),
                         [](const auto& info) { return std::string(info.param).substr(0, 7) == "stories" ? "stories260K" : "tinystories656k"; });

class DecodeRatioTest : public ::testing::TestWithParam<const char*> {};

TEST_P(DecodeRatioTest, IsWithinTwoPointsOver2000DecodedTokens) {
  LoadedEngine loaded = Load(Options(kDefaultModel, GetParam()));
  std::mt19937_64 random(11);
  // The model's context is 512 tokens: five sequences make 2,000 decoded tokens. Random prompts are unlike any calibration text.
  std::vector<double> generated(3);
  double total = 0;
  for (int i = 0; i < 5; ++i) {
    RecordingSink sink;
    const auto prompt = RandomPrompt(random, 20, static_cast<int32_t>(loaded.info.vocab_size));
    ASSERT_TRUE(loaded.engine->Submit(Request(absl::StrCat("r", i), prompt, 401, i % 2 ? 1.0f : 0.0f), &sink).ok());
    while (!sink.finished()) loaded.engine->Step();
    const KvAccounting kv = sink.finish()->kv;
    for (int e = 0; e < 3; ++e) {
      generated[e] += kv.generated_tokens_per_expert[e];
      total += kv.generated_tokens_per_expert[e];
    }
  }
  ASSERT_NEAR(total, 2000, 0.5);  // a sequence's last token is not put through the model
  for (int e = 0; e < 3; ++e) {
    EXPECT_NEAR(generated[e] / total, loaded.facts.ratio.share(e), 0.02) << "expert " << e;
  }
}

INSTANTIATE_TEST_SUITE_P(Ratios, DecodeRatioTest, ::testing::Values("3:1:6", "5:3:2", "1:1:1", "1:6:3"), [](const auto& info) {
  std::string name = absl::StrCat("ratio_", info.param);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
});

}  // namespace
}  // namespace ration
