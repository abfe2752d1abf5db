#include "tools/train/adamw.h"

#include <memory>
#include <vector>

#include <torch/torch.h>

#include "gtest/gtest.h"

namespace ration {
namespace {

TEST(AdamW, EqualsLibTorchsOverManySteps) {
  at::manual_seed(1);
  const at::Tensor start_matrix = at::randn({5, 3}), start_vector = at::randn({4}), target = at::randn({5, 4});
  const auto loss = [&](const at::Tensor& matrix, const at::Tensor& vector) {
    return (at::matmul(matrix, matrix.t()).narrow(1, 0, 4) * vector - target).square().sum();
  };
  at::Tensor matrix = start_matrix.clone(), vector = start_vector.clone();
  const FlatParameters parameters({matrix, vector});
  AdamW::Options options;
  options.clip_norm = 3;
  AdamW ours(parameters, parameters.Spread({0.1, 0.02}), parameters.Spread({0.1 * 0.3, 0}), options);

  at::Tensor matrix2 = start_matrix.clone().set_requires_grad(true);
  at::Tensor vector2 = start_vector.clone().set_requires_grad(true);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  const auto add = [&](const at::Tensor& tensor, double rate, double decay) {
    auto group = std::make_unique<torch::optim::AdamWOptions>(rate);
    group->weight_decay(decay).betas(std::make_tuple(0.9, 0.98));
    groups.emplace_back(std::vector<at::Tensor>{tensor}, std::move(group));
  };
  add(matrix2, 0.1, 0.3);
  add(vector2, 0.02, 0);
  torch::optim::AdamW theirs(groups);
  for (int step = 0; step < 20; ++step) {
    loss(matrix, vector).backward();
    const double norm = ours.Step(1).item<double>();
    theirs.zero_grad();
    loss(matrix2, vector2).backward();
    EXPECT_NEAR(norm, torch::nn::utils::clip_grad_norm_({matrix2, vector2}, 3), 1e-4 * norm);
    theirs.step();
  }
  EXPECT_LE((matrix - matrix2).abs().max().item<double>(), 1e-4);
  EXPECT_LE((vector - vector2).abs().max().item<double>(), 1e-4);
  EXPECT_GT((matrix - start_matrix).abs().max().item<double>(), 0.1);
}

TEST(FlatParameters, TensorsAndTheirGradientsAreViewsOfTheVectors) {
  at::Tensor a = at::ones({2, 3}), b = at::full({2}, 5.0);
  const FlatParameters parameters({a, b});
  (a.sum() * 2 + (b * b).sum()).backward();
  EXPECT_TRUE(at::equal(parameters.values(), at::cat({at::ones({6}), at::full({2}, 5.0)})));
  EXPECT_TRUE(at::equal(parameters.gradients(), at::cat({at::full({6}, 2.0), at::full({2}, 10.0)})));
  parameters.values().fill_(3);
  EXPECT_EQ(b[1].item<float>(), 3);
  EXPECT_TRUE(at::equal(parameters.Spread({1, 2}), at::cat({at::ones({6}), at::full({2}, 2.0)})));
}

}  // namespace
}  // namespace ration
