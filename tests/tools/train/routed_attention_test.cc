#include "tools/train/routed_attention.h"

#include <ATen/ATen.h>

#include "gtest/gtest.h"

namespace ration {
namespace {

TEST(GroupHeads, GivesEachTokenTheMeansOfItsExpertsRuns) {
  const ExpertSpec spec = *ExpertSpec::Create({1, 2, 4}, 4);
  // Three tokens of four heads of two numbers; token e goes to expert e.
  const at::Tensor heads = at::arange(24, at::kFloat).view({1, 3, 4, 2});
  const at::Tensor got = GroupHeads(heads, at::eye(3).view({1, 3, 3}), spec);
  const at::Tensor wanted = at::tensor({0,  1,  2,  3,  4,  5,  6,  7,   // as they are
                                        9,  10, 9,  10, 13, 14, 13, 14,  // means of pairs
                                        19, 20, 19, 20, 19, 20, 19, 20})
                                .to(at::kFloat)
                                .view({1, 3, 4, 2});
  EXPECT_TRUE(at::equal(got, wanted)) << got;
}

TEST(GroupHeads, RegroupingEqualsRoutingThereInTheFirstPlace) {
  const ExpertSpec spec = *ExpertSpec::Create({1, 2, 4}, 8);
  at::manual_seed(1);
  const at::Tensor heads = at::randn({2, 5, 8, 4});
  const auto all_to = [](int expert) { return at::one_hot(at::full({2, 5}, expert, at::kLong), 3).to(at::kFloat); };
  const at::Tensor regrouped = GroupHeads(GroupHeads(heads, all_to(1), spec), all_to(2), spec);
  EXPECT_LE((regrouped - GroupHeads(heads, all_to(2), spec)).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace ration
