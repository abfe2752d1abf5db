#include "tools/train/llama_weights.h"

#include <ATen/ATen.h>

#include "engine/weights/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

TEST(LoadLlamaWeights, AnotherArchitectureIsRefusedByName) {
  const TinyCheckpoint files;
  const auto checkpoint = Checkpoint::Open(files.directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const char* architecture : {"OPTForCausalLM", "Gemma2ForCausalLM"}) {
    ModelConfig config = (*checkpoint)->config();
    config.architecture = architecture;
    const absl::Status status = LoadLlamaWeights(config, RopeRuleOf(config), **checkpoint).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_NE(std::string(status.message()).find(architecture), std::string::npos) << status;
  }
}

TEST(RopeRuleOf, SaysWhatTheConfigurationSays) {
  TinyCheckpointOptions options;
  options.llama3_rope = true;
  const TinyCheckpoint files(options);
  const auto checkpoint = Checkpoint::Open(files.directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const RopeRule rule = RopeRuleOf((*checkpoint)->config());
  EXPECT_EQ(rule.type, RopeRule::Type::kLlama3);
  EXPECT_EQ(rule.factor, 8);
  EXPECT_EQ(rule.original_positions, 64);
  EXPECT_EQ(RopeRuleOf(ModelConfig()).type, RopeRule::Type::kPlain);
}

}  // namespace
}  // namespace ration
