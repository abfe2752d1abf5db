// A tiny random model on tiny data: what a training step must do, in seconds.
#include "tools/train/trainer.h"

#include <string>
#include <vector>

#include <c10/core/GradMode.h>
#include <torch/torch.h>

#include "engine/budget/ratio_ladder.h"
#include "engine/weights/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/testing/tiny_checkpoint.h"
#include "tools/train/llama_forward.h"
#include "tools/train/losses.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

LlamaWeights TinyWeights() {
  const TinyCheckpoint checkpoint;  // windows of 16, groups 1, 2, 4
  return *LoadLlamaWeights(**Checkpoint::Open(checkpoint.directory()));
}

// Tokens that repeat with a period: easy to learn.
at::Tensor EasyStream() { return (at::arange(2000, at::kLong).remainder(7) * 31 + 5); }

Trainer::Options TinyOptions() {
  Trainer::Options options;
  options.batch = 4;
  options.length = 48;
  options.learning_rate = 5e-3;
  options.distill = 0;
  options.warmup = 0;
  return options;
}

RatioLadder Ladder(const LlamaWeights& weights, std::vector<const char*> knots) {
  std::vector<Ratio> ratios;
  for (const char* knot : knots) ratios.push_back(*Ratio::Parse(knot, 3));
  return *RatioLadder::Create(weights.config.mixsga->experts, ratios);
}

TEST(Trainer, LossFallsWithinAFewSteps) {
  const LlamaWeights weights = TinyWeights();
  Trainer trainer(weights, weights, Ladder(weights, {"1:0:0", "3:1:6", "0:0:1"}), EasyStream(), {}, TinyOptions());
  trainer.Step(0);
  const double first = trainer.TakeReport().loss;
  for (int i = 1; i < 11; ++i) trainer.Step(i / 12.0);
  EXPECT_EQ(trainer.TakeReport().steps, 10);
  trainer.Step(11 / 12.0);
  EXPECT_LT(trainer.TakeReport().loss, 0.8 * first);
}

TEST(Trainer, RealisedSharesEqualTheRatio) {
  const LlamaWeights weights = TinyWeights();
  Trainer trainer(weights, weights, Ladder(weights, {"3:1:6"}), EasyStream(), {}, TinyOptions());
  trainer.Step(0);
  trainer.Step(0.5);
  const Trainer::Report result = trainer.TakeReport();
  EXPECT_EQ(result.steps, 2);
  EXPECT_NEAR(result.asked[2], 0.6, 1e-6);
  const double one_token = 1.0 / 48;  // quotas are exact to a token a sequence
  EXPECT_NEAR(result.realised[0], 0.3, one_token);
  EXPECT_NEAR(result.realised[1], 0.1, one_token);
  EXPECT_NEAR(result.realised[2], 0.6, one_token);
  EXPECT_NEAR(result.kv_fraction, 0.5, 1e-6);
}

TEST(Trainer, SameSeedSameWeights) {
  std::vector<at::Tensor> results;
  for (int run = 0; run < 2; ++run) {
    const LlamaWeights weights = TinyWeights();
    Trainer trainer(weights, weights, Ladder(weights, {"1:0:0", "0:0:1"}), EasyStream(), {}, TinyOptions());
    for (int i = 0; i < 3; ++i) trainer.Step(i / 3.0);
    results.push_back(trainer.weights().layers[1].router_weight.detach().clone());
  }
  EXPECT_TRUE(at::equal(results[0], results[1]));
}

TEST(Trainer, ResultIsTheRunningMeanOfTheWeights) {
  const LlamaWeights weights = TinyWeights();
  Trainer::Options options = TinyOptions();
  options.average_decay = 0.01;  // after the first steps: nearly the weights themselves
  Trainer trainer(weights, weights, Ladder(weights, {"1:0:0"}), EasyStream(), {}, options);
  const at::Tensor start = trainer.weights().embed.detach().clone();
  trainer.Step(0);
  const at::Tensor stepped = trainer.weights().embed.detach().clone();
  EXPECT_GT((stepped - start).abs().max().item<double>(), 1e-3);
  EXPECT_LE((trainer.Result().embed - (0.01 * start + 0.99 * stepped)).abs().max().item<double>(), 1e-6);
  EXPECT_TRUE(at::equal(trainer.weights().embed, stepped));
}

TEST(Trainer, SampledSequencesMakeUpTheirShareOfABatch) {
  // Text of one token and samples of another: the embeddings that move tell which of them a step saw.
  const LlamaWeights weights = TinyWeights();
  const at::Tensor text = at::full({2000}, 7, at::kLong), samples = at::full({5, 49}, 9, at::kLong);
  for (const double share : {0.0, 0.5, 1.0}) {
    LlamaWeights student = CloneWeights(weights);
    student.config.tie_word_embeddings = false;  // an output matrix would move every token's row
    student.lm_head = weights.embed.clone();
    const at::Tensor before = student.embed.clone();
    Trainer::Options options = TinyOptions();
    options.weight_decay = 0;
    options.sample_share = share;
    Trainer trainer(student, weights, Ladder(weights, {"1:0:0"}), text, samples, options);
    trainer.Step(0.5);
    const at::Tensor moved = (trainer.weights().embed.detach() - before).abs().sum(1);
    EXPECT_EQ(moved[7].item<double>() > 0, share < 1) << share;
    EXPECT_EQ(moved[9].item<double>() > 0, share > 0) << share;
  }
}

class RouterGradient : public testing::TestWithParam<StraightThrough> {};

TEST_P(RouterGradient, ReachesTheRouterFromTheLanguageLossAlone) {
  LlamaWeights weights = TinyWeights();
  for (auto& [name, tensor] : weights.Named()) tensor->set_requires_grad(name.find("calibration") == std::string::npos);
  const at::Tensor tokens = EasyStream().narrow(0, 0, 2 * 49).view({2, 49});
  ForwardOptions forward;
  forward.route = ExpertChoiceRoutes({*Ratio::Parse("3:1:6", 3)}, 16);
  forward.straight_through = GetParam();
  const at::Tensor logits = LlamaForward(weights, tokens.narrow(1, 0, 48), forward);
  LanguageLoss(logits, tokens.narrow(1, 1, 48), {}, 0).backward();
  for (const LlamaLayerWeights& layer : weights.layers) {
    const bool reached =
        layer.router_weight.grad().defined() && layer.router_weight.grad().abs().max().item<double>() > 0;
    EXPECT_EQ(reached, GetParam() != StraightThrough::kNone);
  }

  // The gate does not show in the forward pass.
  const c10::NoGradGuard no_grad;
  forward.straight_through = StraightThrough::kNone;
  EXPECT_EQ((LlamaForward(weights, tokens.narrow(1, 0, 48), forward) - logits).abs().max().item<double>(), 0);
}

INSTANTIATE_TEST_SUITE_P(Gates, RouterGradient,
                         testing::Values(StraightThrough::kNone, StraightThrough::kChosen, StraightThrough::kAll));

TEST(Losses, AuxiliaryLossPullsScoresToTheAssignment) {
  LayerRouting routing;
  routing.logits = at::zeros({1, 2, 3}).set_requires_grad(true);
  routing.experts = at::tensor({0, 2}, at::kLong).view({1, 2});
  RouterLoss({routing}).backward();
  const at::Tensor gradient = routing.logits.grad();
  for (int t = 0; t < 2; ++t) {
    for (int e = 0; e < 3; ++e) {
      const bool assigned = e == routing.experts[0][t].item<int64_t>();
      EXPECT_EQ(gradient[0][t][e].item<float>() < 0, assigned) << t << " " << e;
    }
  }
}

TEST(Losses, DistillationIsLeastAtTheTeacher) {
  at::manual_seed(1);
  const at::Tensor teacher = at::randn({1, 3, 5}), targets = at::zeros({1, 3}, at::kLong);
  const double at_teacher = LanguageLoss(teacher, targets, teacher, 1).item<double>();
  for (int i = 0; i < 5; ++i) {
    EXPECT_GT(LanguageLoss(teacher + at::randn({1, 3, 5}) * 0.3, targets, teacher, 1).item<double>(), at_teacher);
  }
  const double plain = LanguageLoss(teacher, targets, {}, 0.7).item<double>();
  EXPECT_NEAR(LanguageLoss(teacher, targets, teacher, 0).item<double>(), plain, 1e-6);
  EXPECT_NEAR(LanguageLoss(teacher, targets, teacher, 0.25).item<double>(), 0.75 * plain + 0.25 * at_teacher, 1e-5);
}

}  // namespace
}  // namespace ration
