#include "server/logging.h"

#include <memory>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace ration {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class LoggingTest : public ::testing::Test {
 protected:
  void Configure(LogFormat format, spdlog::level::level_enum level = spdlog::level::info) {
    ConfigureLogging(format, level, std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
  }
  // What was logged since the last call; must be whole lines.
  std::string Take() {
    const std::string text = text_.str();
    text_.str("");
    EXPECT_TRUE(text.empty() || text.back() == '\n');
    return text;
  }
  // The one line that was logged, parsed.
  LogFields TakeObject() {
    const std::string text = Take();
    EXPECT_EQ(text.find('\n'), text.size() - 1) << "one line: " << text;
    return LogFields::parse(text);
  }

  std::ostringstream text_;
};

// Text that tries to end its line, to forge another, to end its string and to move a terminal's cursor, and is not UTF-8.
const std::string kHostile = "a\n{\"level\":\"error\"}\r\"\\\x1b[2J\x7f\x01\xff\xc3\xa9 level=error";

TEST_F(LoggingTest, JsonLinesHaveTimeLevelMessageAndTypedFields) {
  Configure(LogFormat::kJson);
  LogEvent(*spdlog::default_logger(), spdlog::level::info, "request",
           {{"id", "x"}, {"tokens", 7}, {"seconds", 0.25}, {"ok", true}});
  const std::string line = Take();
  EXPECT_THAT(line, StartsWith("{\"time\":\"20"));
  EXPECT_THAT(line, EndsWith(",\"level\":\"info\",\"message\":\"request\",\"id\":\"x\",\"tokens\":7,\"seconds\":0.25,\"ok\":true}\n"));
  absl::Time time;
  std::string error;
  const std::string text = LogFields::parse(line)["time"];
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, &error)) << text << ": " << error;
}

TEST_F(LoggingTest, SentencesAreMessages) {
  Configure(LogFormat::kJson);
  spdlog::warn("{} of {}", 1, "\"two\"");
  const LogFields line = TakeObject();
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["message"], "1 of \"two\"");
  spdlog::error("{}", "{\"message\":\"forged\"}");
  EXPECT_EQ(TakeObject()["message"], "{\"message\":\"forged\"}") << "only LogEvent's own objects are taken as such";
}

TEST_F(LoggingTest, HostileTextStaysInItsPlace) {
  Configure(LogFormat::kJson);
  LogEvent(*spdlog::default_logger(), spdlog::level::info, kHostile, {{"id", kHostile}, {"after", 1}});
  LogFields line = TakeObject();
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["after"], 1);
  const std::string expected = "a\n{\"level\":\"error\"}\r\"\\\x1b[2J\x7f\x01\xef\xbf\xbd\xc3\xa9 level=error";
  EXPECT_EQ(line["id"], expected);
  spdlog::info("{}", kHostile);
  EXPECT_EQ(TakeObject()["message"], expected);

  Configure(LogFormat::kText);
  LogEvent(*spdlog::default_logger(), spdlog::level::info, "request", {{"id", kHostile}, {"after", 1}});
  const std::string text = Take();
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
  for (char c : text) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << text;
  EXPECT_THAT(text, HasSubstr(" info request id=\"a\\n{\\\"level\\\":"));
  EXPECT_THAT(text, EndsWith("\" after=1\n"));
}

TEST_F(LoggingTest, TextLinesShowWordsBare) {
  Configure(LogFormat::kText);
  LogEvent(*spdlog::default_logger(), spdlog::level::warn, "request",
           {{"id", "a-b_c.d:e/f"}, {"two", "a b"}, {"none", ""}, {"n", -1.5}, {"ok", false}});
  EXPECT_THAT(Take(), EndsWith(" warning request id=a-b_c.d:e/f two=\"a b\" none=\"\" n=-1.5 ok=false\n"));
}

TEST_F(LoggingTest, KeepsToTheLevel) {
  Configure(LogFormat::kText, spdlog::level::warn);
  LogEvent(*spdlog::default_logger(), spdlog::level::info, "request", {{"id", 1}});
  spdlog::info("sentence");
  EXPECT_EQ(Take(), "");
  LogEvent(*spdlog::default_logger(), spdlog::level::warn, "request", {{"id", 1}});
  EXPECT_NE(Take(), "");
}

TEST_F(LoggingTest, QueuedLinesComeOutBeforeTheirLoggerIsGone) {
  Configure(LogFormat::kJson);
  auto logger = NewQueuedLogger("requests");
  for (int i = 0; i < 100; ++i) LogEvent(*logger, spdlog::level::info, "request", {{"id", i}});
  logger.reset();
  const std::string text = Take();
  const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(LogFields::parse(lines[i])["id"], i);
}

TEST_F(LoggingTest, ABeginningEndsWithAWholeCharacter) {
  EXPECT_EQ(Beginning("abc", 3), "abc");
  EXPECT_EQ(Beginning("abcd", 3), "abc...");
  EXPECT_EQ(Beginning("ab\xc3\xa9", 3), "ab...");
}

}  // namespace
}  // namespace ration
