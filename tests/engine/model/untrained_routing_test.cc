// Which experts a checkpoint without routers gets, and what --untrained_routing may say.
#include "engine/model/untrained_routing.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ration {
namespace {

using Kind = UntrainedRouting::Kind;

TEST(UntrainedRouting, SaysNoneRecencyOrStatic) {
  for (const char* text : {"none", "recency", "static:2", "static:16"}) {
    const auto routing = ParseUntrainedRouting(text);
    ASSERT_TRUE(routing.ok()) << text;
    EXPECT_EQ(ToString(*routing), text);
  }
  EXPECT_EQ(ParseUntrainedRouting("static:2")->group_size, 2);
  for (const char* text : {"", "static", "static:", "static:1", "static:0", "static:-2", "static:2x", "static:99999999999", "Recency"}) {
    const auto routing = ParseUntrainedRouting(text);
    ASSERT_FALSE(routing.ok()) << text;
    EXPECT_THAT(std::string(routing.status().message()), testing::HasSubstr("must be none, recency or static:GROUP_SIZE")) << text;
  }
}

TEST(UntrainedRouting, GroupSizesFollowTheHeads) {
  const std::vector<std::pair<int64_t, std::vector<int>>> cases = {{1, {1}},       {2, {1, 2}},    {3, {1, 3}}, {4, {1, 2, 4}}, {5, {1, 5}},
                                                                   {6, {1, 2}},    {8, {1, 2, 4}}, {9, {1, 3}}, {10, {1, 2}},   {12, {1, 2, 4}},
                                                                   {16, {1, 2, 4}}, {32, {1, 2, 4}}};
  for (const auto& [heads, sizes] : cases) {
    EXPECT_EQ(GroupSizesFor(heads), sizes) << heads;
    EXPECT_TRUE(ExpertSpec::Create(sizes, static_cast<int>(heads)).ok()) << heads;
  }
}

TEST(UntrainedRouting, StaticKeepsEverythingAtItsGroupSizeAndRecencyAtFullUntilSqueezed) {
  const auto fixed = UntrainedConfig({Kind::kStatic, 4}, 8);
  ASSERT_TRUE(fixed.ok());
  EXPECT_EQ(fixed->experts.group_sizes(), (std::vector<int>{1, 4}));
  EXPECT_EQ(fixed->default_ratio.KvFraction(fixed->experts), 0.25);
  const auto recency = UntrainedConfig({Kind::kRecency, 1}, 8);
  ASSERT_TRUE(recency.ok());
  EXPECT_EQ(recency->experts.group_sizes(), (std::vector<int>{1, 2, 4}));
  EXPECT_EQ(recency->default_ratio.KvFraction(recency->experts), 1);
  const auto wrong = UntrainedConfig({Kind::kStatic, 4}, 6);
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.status().message(), "static:4: the group size must divide the model's 6 key/value heads");
}

}  // namespace
}  // namespace ration
