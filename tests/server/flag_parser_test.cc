#include "server/flag_parser.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/flags/flag.h"
#include "absl/time/time.h"

ABSL_FLAG(std::string, test_text, "none", "A text with a description that is long enough to need a second line in the help, since "
                                          "it goes on and on.");
ABSL_FLAG(int64_t, test_number, 5, "A number.");
ABSL_FLAG(bool, test_switch, false, "A switch.");
ABSL_FLAG(absl::Duration, test_duration, absl::Seconds(1), "A duration.");

namespace ration {
namespace {

using ::testing::HasSubstr;

constexpr absl::string_view kNames[] = {"test_text", "test_number", "test_switch", "test_duration"};

std::string ErrorOf(const std::vector<std::string>& arguments) {
  const absl::Status status = ParseFlags(kNames, arguments);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << "one line";
  return std::string(status.message());
}

TEST(ParseFlags, TakesBothSpellingsAndSwitches) {
  ASSERT_TRUE(ParseFlags(kNames, {"--test_text=a=b", "--test_number", "-7", "--test_switch", "--test_duration=1m30s"}).ok());
  EXPECT_EQ(absl::GetFlag(FLAGS_test_text), "a=b");
  EXPECT_EQ(absl::GetFlag(FLAGS_test_number), -7);
  EXPECT_TRUE(absl::GetFlag(FLAGS_test_switch));
  EXPECT_EQ(absl::GetFlag(FLAGS_test_duration), absl::Seconds(90));
  ASSERT_TRUE(ParseFlags(kNames, {"--notest_switch", "--test_text="}).ok());
  EXPECT_FALSE(absl::GetFlag(FLAGS_test_switch));
  EXPECT_EQ(absl::GetFlag(FLAGS_test_text), "");
}

TEST(ParseFlags, SaysWhatIsWrongInOneLine) {
  EXPECT_THAT(ErrorOf({"--test_texts=x"}), HasSubstr("unknown flag \"--test_texts\""));
  EXPECT_THAT(ErrorOf({"--notest_text"}), HasSubstr("unknown flag"));
  EXPECT_THAT(ErrorOf({"--flagfile=/etc/passwd"}), HasSubstr("unknown flag")) << "only our own flags are known";
  EXPECT_THAT(ErrorOf({"stories"}), HasSubstr("not a flag: \"stories\""));
  EXPECT_THAT(ErrorOf({"-x"}), HasSubstr("not a flag"));
  EXPECT_THAT(ErrorOf({"--"}), HasSubstr("not a flag"));
  EXPECT_THAT(ErrorOf({"--test_number"}), HasSubstr("--test_number: needs a value"));
  EXPECT_THAT(ErrorOf({"--test_number=many"}), HasSubstr("--test_number: cannot read \"many\""));
  EXPECT_THAT(ErrorOf({"--test_switch=perhaps"}), HasSubstr("--test_switch"));
}

TEST(FlagsHelp, ShowsNamesDefaultsAndWrappedText) {
  const std::string help = FlagsHelp(kNames);
  EXPECT_THAT(help, HasSubstr("  --test_number (default 5)\n      A number.\n"));
  for (size_t start = 0; start < help.size();) {
    const size_t end = help.find('\n', start);
    ASSERT_NE(end, std::string::npos);
    EXPECT_LE(end - start, 100u);
    start = end + 1;
  }
}

}  // namespace
}  // namespace ration
