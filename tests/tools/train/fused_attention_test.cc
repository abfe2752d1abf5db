#include "tools/train/fused_attention.h"

#include <tuple>

#include <torch/torch.h>

#include "gtest/gtest.h"
#include "tools/train/decoder_math.h"

namespace ration {
namespace {

// length, query heads, key/value heads, head size
class FusedAttentionTest : public testing::TestWithParam<std::tuple<int, int, int, int>> {};

TEST_P(FusedAttentionTest, EqualsPlainAttentionForwardAndBackward) {
  const auto [length, query_heads, kv_heads, dim] = GetParam();
  at::manual_seed(3);
  at::Tensor q = at::randn({2, length, query_heads, dim}) * 2, k = at::randn({2, length, kv_heads, dim}) * 2;
  at::Tensor v = at::randn({2, length, kv_heads, dim});
  const at::Tensor gradient = at::randn({2, length, query_heads, dim});
  for (at::Tensor* t : {&q, &k, &v}) t->set_requires_grad(true);
  const at::Tensor plain = PlainAttention(q, k, v);
  const auto wanted = torch::autograd::grad({(plain * gradient).sum()}, {q, k, v});
  const at::Tensor fused = FusedAttention(q, k, v);
  const auto got = torch::autograd::grad({(fused * gradient).sum()}, {q, k, v});
  // Sums of `length` float products in another order: error grows with the root of their number.
  const double tolerance = 4e-6 * (4 + std::sqrt(static_cast<double>(length * query_heads / kv_heads)));
  EXPECT_LE((plain - fused).abs().max().item<double>(), tolerance);
  for (int i = 0; i < 3; ++i) {
    EXPECT_LE((wanted[i] - got[i]).abs().max().item<double>(), tolerance * (1 + wanted[i].abs().max().item<double>()))
        << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, FusedAttentionTest,
                         testing::Values(std::make_tuple(1, 8, 4, 8), std::make_tuple(15, 8, 4, 8),
                                         std::make_tuple(16, 8, 8, 8), std::make_tuple(17, 6, 2, 8),
                                         std::make_tuple(130, 8, 4, 8), std::make_tuple(65, 4, 2, 16),
                                         std::make_tuple(33, 4, 4, 32), std::make_tuple(20, 4, 2, 6)));

}  // namespace
}  // namespace ration
