#include "server/flag_parser.h"

#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "proto/config.pb.h"

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string ErrorOf(const std::vector<std::string>& arguments) {
  v1::ServerConfig config;
  std::set<std::string> given;
  const absl::Status status = ParseFlags(arguments, &config, &given);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << "one line";
  return std::string(status.message());
}

TEST(ParseFlags, TakesBothSpellingsSwitchesAndLists) {
  v1::ServerConfig config;
  std::set<std::string> given;
  ASSERT_TRUE(ParseFlags({"--model=a=b", "--threads", "-7", "--insecure", "--grace_period=1m30s", "--kv_floor=0.25", "--ladder=1:0,0:1"},
                         &config, &given)
                  .ok());
  EXPECT_EQ(config.model(), "a=b");
  EXPECT_EQ(config.threads(), -7);
  EXPECT_TRUE(config.insecure());
  EXPECT_EQ(config.grace_period(), "1m30s");
  EXPECT_EQ(config.kv_floor(), 0.25);
  EXPECT_THAT(config.ladder(), ElementsAre("1:0", "0:1"));
  EXPECT_THAT(given, ElementsAre("grace_period", "insecure", "kv_floor", "ladder", "model", "threads"));
  ASSERT_TRUE(ParseFlags({"--noinsecure", "--model=", "--ladder=1:1"}, &config, &given).ok());
  EXPECT_FALSE(config.insecure());
  EXPECT_EQ(config.model(), "");
  EXPECT_THAT(config.ladder(), ElementsAre("1:1")) << "the last one counts";
  ASSERT_TRUE(ParseFlags({"--ladder="}, &config, &given).ok());
  EXPECT_EQ(config.ladder_size(), 0);
}

TEST(ParseFlags, SaysWhatIsWrongInOneLine) {
  EXPECT_THAT(ErrorOf({"--modle=x"}), HasSubstr("unknown flag \"--modle\""));
  EXPECT_THAT(ErrorOf({"--nomodel"}), HasSubstr("unknown flag"));
  EXPECT_THAT(ErrorOf({"--noinsecure=true"}), HasSubstr("unknown flag"));
  EXPECT_THAT(ErrorOf({"--flagfile=/etc/passwd"}), HasSubstr("unknown flag"));
  EXPECT_THAT(ErrorOf({"stories"}), HasSubstr("not a flag: \"stories\""));
  EXPECT_THAT(ErrorOf({"-x"}), HasSubstr("not a flag"));
  EXPECT_THAT(ErrorOf({"--"}), HasSubstr("not a flag"));
  EXPECT_THAT(ErrorOf({"--threads"}), HasSubstr("--threads: needs a value"));
  EXPECT_EQ(ErrorOf({"--threads=many"}), "--threads: must be a whole number, not \"many\"");
  EXPECT_EQ(ErrorOf({"--threads=9223372036854775808"}), "--threads: must be a whole number, not \"9223372036854775808\"");
  EXPECT_EQ(ErrorOf({"--kv_floor="}), "--kv_floor: must be a number, not \"\"");
  EXPECT_EQ(ErrorOf({"--insecure=perhaps"}), "--insecure: must be true or false, not \"perhaps\"");
}

TEST(FlagsHelp, ShowsSectionsNamesDefaultsAndWrappedText) {
  const std::string help = FlagsHelp(*v1::ServerConfig::descriptor());
  EXPECT_THAT(help, HasSubstr("\nMemory\n  --kv_budget (default 1GiB)\n      Bytes the KV cache may use, "));
  EXPECT_THAT(help, HasSubstr("  --threads (default 0)\n      Compute threads; 0: one for each core.\n"));
  EXPECT_THAT(help, HasSubstr("  --headroom (default 0.02)\n"));
  EXPECT_THAT(help, HasSubstr("  --insecure (default false)\n"));
  EXPECT_THAT(help, HasSubstr("  --model\n")) << "no default to speak of";
  const std::vector<std::string> lines = absl::StrSplit(help, '\n');
  for (const std::string& line : lines) EXPECT_LE(line.size(), 100u) << line;
}

TEST(ServerConfig, EveryFieldIsAFlagThatExplainsItself) {
  const google::protobuf::Descriptor& fields = *v1::ServerConfig::descriptor();
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *fields.field(i);
    const std::string help = field.options().GetExtension(v1::help);
    EXPECT_GT(help.size(), 10u) << field.name();
    EXPECT_EQ(help.back(), '.') << field.name();
    using Type = google::protobuf::FieldDescriptor;
    EXPECT_THAT((std::set<Type::CppType>{Type::CPPTYPE_BOOL, Type::CPPTYPE_INT64, Type::CPPTYPE_DOUBLE, Type::CPPTYPE_STRING}),
                ::testing::Contains(field.cpp_type()))
        << field.name();
    EXPECT_TRUE(!field.is_repeated() || field.cpp_type() == Type::CPPTYPE_STRING) << field.name();
  }
}

}  // namespace
}  // namespace ration
