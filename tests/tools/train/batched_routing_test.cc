#include "tools/train/batched_routing.h"

#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

Ratio R(const char* text) { return *Ratio::Parse(text, 3); }

// length, window
class BatchedRoutingTest : public testing::TestWithParam<std::tuple<int, int>> {};

TEST_P(BatchedRoutingTest, EqualsTheRoutersOwnRuleWithTiesAndNans) {
  const auto [length, window] = GetParam();
  const std::vector<Ratio> ratios = {R("3:1:6"), R("1:0:0"), R("0:0:1"), R("0:1:0"), R("5:3:2")};
  const int64_t batch = static_cast<int64_t>(ratios.size());
  at::manual_seed(length);
  for (const bool coarse : {false, true}) {
    at::Tensor scores = at::rand({batch, length, 3});
    if (coarse) scores = (scores * 4).floor() / 4;  // many ties
    scores.masked_fill_(at::rand_like(scores) < 0.05, std::numeric_limits<float>::quiet_NaN());
    const at::Tensor wanted = ExpertChoiceRoutes(ratios, window)(0, scores);
    const at::Tensor got = BatchedTopK(scores, WindowQuotas(ratios, length, window), window);
    EXPECT_TRUE(at::equal(wanted, got)) << coarse;
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, BatchedRoutingTest,
                         testing::Values(std::make_tuple(1, 16), std::make_tuple(16, 16), std::make_tuple(40, 16),
                                         std::make_tuple(77, 8), std::make_tuple(512, 256)));

TEST(BatchedTopK, OneRatioServesEverySequence) {
  at::manual_seed(1);
  const at::Tensor scores = at::rand({4, 20, 3});
  EXPECT_TRUE(at::equal(ExpertChoiceRoutes({R("3:1:6")}, 16)(0, scores),
                        BatchedTopK(scores, WindowQuotas({R("3:1:6")}, 20, 16), 16)));
}

}  // namespace
}  // namespace ration
