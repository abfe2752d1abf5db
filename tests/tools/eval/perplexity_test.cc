#include "tools/eval/perplexity.h"

#include <cmath>

#include <ATen/ATen.h>

#include "engine/weights/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

LlamaWeights Load(const TinyCheckpointOptions& options) {
  const TinyCheckpoint checkpoint(options);
  return *LoadLlamaWeights(**Checkpoint::Open(checkpoint.directory()));
}

at::Tensor Sequences() { return (at::arange(10 * 65, at::kLong) * 7919).remainder(384).view({10, 65}); }
Ratio R(const char* text) { return *Ratio::Parse(text, 3); }

TEST(Evaluate, AModelThatKnowsNothingHasThePerplexityOfItsVocabulary) {
  LlamaWeights weights = Load({});
  weights.final_norm.zero_();
  const auto result = Evaluate(weights, Sequences(), Ratio(), EvalRouting::kFull);
  ASSERT_TRUE(result.ok());
  EXPECT_NEAR(result->perplexity, 384, 0.01);
  EXPECT_EQ(result->tokens, 640);
}

TEST(Evaluate, FullKvEqualsAllToTheFirstExpert) {
  const LlamaWeights weights = Load({});
  const double full = Evaluate(weights, Sequences(), Ratio(), EvalRouting::kFull)->loss;
  EXPECT_NEAR(Evaluate(weights, Sequences(), R("1:0:0"), EvalRouting::kExpertChoice)->loss, full, 1e-5);
  EXPECT_NEAR(Evaluate(weights, Sequences(), R("1:0:0"), EvalRouting::kThreshold)->loss, full, 1e-5);
}

TEST(Evaluate, RulesRealiseTheirShares) {
  const LlamaWeights weights = Load({});
  const EvalResult choice = *Evaluate(weights, Sequences(), R("3:1:6"), EvalRouting::kExpertChoice);
  EXPECT_NEAR(choice.kv_fraction, 0.5, 0.01);
  EXPECT_NEAR(choice.shares[0], 0.3, 1.0 / 64);
  const EvalResult thresholds = *Evaluate(weights, Sequences(), R("3:1:6"), EvalRouting::kThreshold);
  EXPECT_NEAR(thresholds.shares[0], 0.3, 17.0 / 64);  // the router's slack of 16 tokens in 64
}

TEST(Evaluate, APlainModelIsRefusedARatio) {
  TinyCheckpointOptions plain;
  plain.group_sizes = {};
  EXPECT_EQ(Evaluate(Load(plain), Sequences(), R("3:1:6"), EvalRouting::kExpertChoice).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(CalibrationScores, AreSpreadOverTheTextAndStayBetweenZeroAndOne) {
  const LlamaWeights weights = Load({});
  const std::vector<at::Tensor> tables = CalibrationScores(weights, Sequences(), R("3:1:6"), 100);
  ASSERT_EQ(tables.size(), weights.layers.size());
  for (const at::Tensor& table : tables) {
    EXPECT_EQ(table.sizes(), (at::IntArrayRef{100, 3}));
    EXPECT_GE(table.min().item<double>(), 0);
    EXPECT_LE(table.max().item<double>(), 1);
  }
  EXPECT_EQ(CalibrationScores(weights, Sequences(), R("3:1:6"), 100000)[0].size(0), 640);
}

}  // namespace
}  // namespace ration
