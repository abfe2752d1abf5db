#include "tools/train/checkpoint_output.h"

#include <string>

#include <ATen/ATen.h>

#include "engine/weights/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

TEST(WriteModelDirectory, ReadsBackAsItWas) {
  TinyCheckpointOptions plain;
  plain.group_sizes = {};
  plain.dtype = at::kBFloat16;
  const TinyCheckpoint base(plain);
  LlamaWeights weights = *LoadLlamaWeights(**Checkpoint::Open(base.directory()));
  ASSERT_TRUE(AddRouters({1, 2, 4}, 128, 7, weights).ok());
  for (LlamaLayerWeights& layer : weights.layers) layer.router_calibration = at::rand({33, 3});
  MixsgaConfig& mixsga = *weights.config.mixsga;
  mixsga.default_ratio = *Ratio::Parse("3:1:6", 3);
  mixsga.ladder = {{1.0, *Ratio::Parse("1:0:0", 3)}, {0.25, *Ratio::Parse("0:0:1", 3)}};

  const std::string out = testing::TempDir() + "/written_model";
  const absl::Status written = WriteModelDirectory(weights, base.directory(), out);
  ASSERT_TRUE(written.ok()) << written;
  const auto checkpoint = Checkpoint::Open(out);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const ModelConfig& config = (*checkpoint)->config();
  ASSERT_TRUE(config.mixsga.has_value());
  EXPECT_EQ(config.mixsga->experts, mixsga.experts);
  EXPECT_EQ(config.mixsga->routing_window, 128);
  EXPECT_TRUE(config.mixsga->elastic);
  EXPECT_EQ(config.mixsga->default_ratio, mixsga.default_ratio);
  ASSERT_EQ(config.mixsga->ladder.size(), 2u);
  EXPECT_EQ(config.mixsga->ladder[1].second, mixsga.ladder[1].second);
  EXPECT_EQ(config.torch_dtype, "float32");

  const auto again = LoadLlamaWeights(**checkpoint);
  ASSERT_TRUE(again.ok()) << again.status();
  const auto wanted = static_cast<const LlamaWeights&>(weights).Named(),
             got = static_cast<const LlamaWeights&>(*again).Named();
  ASSERT_EQ(wanted.size(), got.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(wanted[i].first, got[i].first);
    EXPECT_TRUE(at::equal(wanted[i].second, got[i].second)) << wanted[i].first;
  }
}

TEST(WriteModelDirectory, KeepsTheOneRatioOfAFixedRun) {
  const TinyCheckpoint base;
  LlamaWeights weights = *LoadLlamaWeights(**Checkpoint::Open(base.directory()));
  weights.config.mixsga->elastic = false;
  weights.config.mixsga->trained_ratio = weights.config.mixsga->default_ratio = *Ratio::Parse("0:1:0", 3);
  const std::string out = testing::TempDir() + "/fixed_model";
  ASSERT_TRUE(WriteModelDirectory(weights, base.directory(), out).ok());
  const auto checkpoint = Checkpoint::Open(out);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_FALSE((*checkpoint)->config().mixsga->elastic);
  EXPECT_EQ((*checkpoint)->config().mixsga->trained_ratio, *Ratio::Parse("0:1:0", 3));
}

TEST(WriteModelDirectory, NamesTheMissingBase) {
  const absl::Status status = WriteModelDirectory({}, "/nonexistent", testing::TempDir() + "/nothing");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(status.message()).find("/nonexistent/config.json"), std::string::npos);
}

}  // namespace
}  // namespace ration
