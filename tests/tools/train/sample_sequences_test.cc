#include "tools/train/sample_sequences.h"

#include "engine/weights/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/testing/tiny_checkpoint.h"
#include "tools/train/llama_forward.h"

namespace ration {
namespace {

LlamaWeights PlainWeights() {
  TinyCheckpointOptions options;
  options.group_sizes = {};
  options.attention_bias = true;
  const TinyCheckpoint checkpoint(options);
  LlamaWeights weights = *LoadLlamaWeights(**Checkpoint::Open(checkpoint.directory()));
  weights.embed.mul_(4);  // distributions far from even
  return weights;
}

TEST(SampleSequences, KeepsPromptsAndDrawsFromTheModelsDistribution) {
  const LlamaWeights weights = PlainWeights();
  at::manual_seed(5);
  const at::Tensor prompts = at::tensor({3, 9, 70, 4}, at::kLong).expand({4096, 4});
  const at::Tensor drawn = SampleSequences(weights, prompts, 7);
  ASSERT_EQ(drawn.sizes(), (at::IntArrayRef{4096, 7}));
  EXPECT_TRUE(at::equal(drawn.narrow(1, 0, 4), prompts));
  // The whole-sequence model says how likely each next token was: drawn tokens are as likely as it expects of them.
  const at::Tensor all = at::log_softmax(LlamaForward(weights, drawn.narrow(1, 0, 6).contiguous(), {}), 2);
  for (int64_t t = 3; t < 6; ++t) {
    const at::Tensor logs = all.select(1, t);
    const at::Tensor seen = logs.gather(1, drawn.select(1, t + 1).unsqueeze(1)).squeeze(1);
    const at::Tensor expected = (logs.exp() * logs).sum(1);
    const double spread = (logs.exp() * (logs - expected.unsqueeze(1)).square()).sum(1).mean().sqrt().item<double>();
    EXPECT_GT(spread, 0.3);
    EXPECT_NEAR((seen - expected).mean().item<double>(), 0, 4 * spread / 64) << t;  // four standard errors
  }
}

}  // namespace
}  // namespace ration
