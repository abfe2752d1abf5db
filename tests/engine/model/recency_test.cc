// --untrained_routing=recency: a plain checkpoint whose newest tokens keep their heads, and whose oldest lose them first.
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "engine/model/model_factory.h"
#include "engine/weights/checkpoint.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/testing/family_checkpoint.h"
#include "tests/testing/sequence_runner.h"

namespace ration {
namespace {

TEST(Recency, TheNewestTokensOfAPromptKeepTheirHeadsAndDecodedOnesTrackTheRatio) {
  const FamilyCheckpoint files(TestFamily::kGemma2);
  auto checkpoint = Checkpoint::Open(files.directory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ModelConfig config = (*checkpoint)->config();
  config.untrained_routing.kind = UntrainedRouting::Kind::kRecency;
  config.mixsga = *UntrainedConfig(config.untrained_routing, config.num_kv_heads);
  kernels::cpu::ThreadPool pool(1);
  ModelOptions options;
  options.ratio = *Ratio::Parse("1:1:2", 3);
  options.kv_budget_bytes = 8 << 20;
  auto serving = BuildServingModel(**checkpoint, config, options, &pool);
  ASSERT_TRUE(serving.ok()) << serving.status();
  KvCacheManager cache(*serving->spec, serving->num_pages);
  testing::SequenceRunner runner(&*serving, &cache);
  runner.Prefill(std::vector<int32_t>(16, 5), 0);
  const std::vector<uint8_t> expected = {2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0};
  for (const std::vector<uint8_t>& routes : runner.routes()) EXPECT_EQ(routes, expected);

  for (int i = 0; i < 200; ++i) runner.Decode(7);
  for (const std::vector<uint8_t>& routes : runner.routes()) {
    std::vector<int> counts(3);
    for (uint8_t expert : routes) ++counts[expert];
    EXPECT_NEAR(counts[0], 54, 8);  // a quarter of 216, within the router's slack
    EXPECT_NEAR(counts[1], 54, 16);
  }
}

}  // namespace
}  // namespace ration
