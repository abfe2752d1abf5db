#include "client/stats_table.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_generation_service.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(StatsTableTest, ShowsTokensPerExpertBytesAndTimes) {
  EXPECT_EQ(StatsTable(testing::StoryReplies()[2].finish(), {1, 2, 4}, false),
            "  tokens cached by            prompt   generated    share\n"
            "  expert 1  keeps all heads        1           1   33.3 %\n"
            "  expert 2  keeps 1/2            0.4           0    6.7 %\n"
            "  expert 3  keeps 1/4            1.6           2   60.0 %\n"
            "  all                              3           3\n"
            "\n"
            "  KV cache 78.1 KiB of 156 KiB at full (50 %), in 120 KiB of pages\n"
            "  4 tokens for a prompt of 3, ended at the length limit\n"
            "  queued 1.50 ms, first token after 20.0 ms, then 100 tokens/s\n");
}

TEST(StatsTableTest, SaysWhatEndedTheText) {
  v1::Finish finish;
  finish.set_reason(v1::FINISH_REASON_STOP);
  finish.set_stop_string("the end\x1b[0m");
  finish.set_generated_tokens(1);
  EXPECT_THAT(StatsTable(finish, {}, false), HasSubstr("1 token for a prompt of 0, ended by \"the end\xEF\xBF\xBD[0m\""));
  finish.set_stop_token_id(2);
  EXPECT_THAT(StatsTable(finish, {}, false), HasSubstr("ended by token 2"));
}

TEST(StatsTableTest, WithoutAccountingThereIsNoTableAndNoDivisionByZero) {
  const std::string text = StatsTable(v1::Finish(), {}, false);
  EXPECT_THAT(text, Not(HasSubstr("expert")));
  EXPECT_THAT(text, Not(HasSubstr("nan")));
  EXPECT_THAT(text, Not(HasSubstr("inf")));
}

TEST(StatsTableTest, UnknownGroupSizesLeaveExpertsUnlabelled) {
  EXPECT_THAT(StatsTable(testing::StoryReplies()[2].finish(), {}, false), HasSubstr("\n  expert 2              0.4           0    6.7 %\n"));
}

}  // namespace
}  // namespace ration
