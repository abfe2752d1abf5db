#include "tools/train/head_alignment.h"

#include <ATen/ATen.h>

#include "engine/weights/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/testing/tiny_checkpoint.h"
#include "tools/train/llama_forward.h"
#include "tools/train/llama_weights.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

LlamaWeights Load(const TinyCheckpointOptions& options) {
  const TinyCheckpoint checkpoint(options);
  return *LoadLlamaWeights(**Checkpoint::Open(checkpoint.directory()));
}

at::Tensor SomeSequences(int64_t vocab) {
  return (at::arange(4 * 48, at::kLong) * 7919).remainder(vocab).view({4, 48});
}

class HeadAlignment : public testing::TestWithParam<bool> {};

TEST_P(HeadAlignment, DoesNotChangeTheModel) {
  TinyCheckpointOptions options;
  options.group_sizes = {};
  options.attention_bias = GetParam();
  const LlamaWeights before = Load(options);
  LlamaWeights after = CloneWeights(before);
  AlignHeads(SomeSequences(384), after);
  EXPECT_GT((before.layers[0].v_proj - after.layers[0].v_proj).abs().max().item<double>(), 1e-3);
  const at::Tensor wanted = LlamaForward(before, SomeSequences(384), {}),
                   got = LlamaForward(after, SomeSequences(384), {});
  EXPECT_LE((wanted - got).abs().max().item<double>(), 2e-4 * (1 + wanted.abs().max().item<double>()));
}

INSTANTIATE_TEST_SUITE_P(Biases, HeadAlignment, testing::Bool());

TEST(HeadAlignmentOfTwins, FindsHeadsThatAreRotationsOfEachOther) {
  TinyCheckpointOptions options;
  options.group_sizes = {};
  options.layers = 1;
  LlamaWeights weights = Load(options);
  const int64_t d = weights.config.head_dim;
  // Heads 0 and 2 and heads 1 and 3 are twins up to a rotation of V and a phase of K: no grouping of neighbours as they
  // stand.
  LlamaLayerWeights& w = weights.layers[0];
  for (int64_t h : {0, 1}) {
    w.v_proj.narrow(0, (h + 2) * d, d).copy_(w.v_proj.narrow(0, h * d, d).flip(0));
    const at::Tensor k = w.k_proj.narrow(0, h * d, d).clone();
    w.k_proj.narrow(0, (h + 2) * d, d).copy_(at::cat({-k.narrow(0, d / 2, d / 2), k.narrow(0, 0, d / 2)}));
  }
  const auto harm = [](LlamaWeights model) {
    EXPECT_TRUE(AddRouters({1, 2}, 16, 1, model).ok());
    ForwardOptions grouped;
    grouped.route = ExpertChoiceRoutes({Ratio::AllTo(1, 2)}, 16);
    const at::Tensor full = LlamaForward(model, SomeSequences(384), {});
    return (full - LlamaForward(model, SomeSequences(384), grouped)).norm().item<double>() / full.norm().item<double>();
  };
  const double before = harm(weights);
  AlignHeads(SomeSequences(384), weights);
  EXPECT_LT(harm(weights), 0.25 * before);
}

}  // namespace
}  // namespace ration
