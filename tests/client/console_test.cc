#include "client/console.h"

#include <string>

#include "gtest/gtest.h"

namespace ration {
namespace {

TEST(ConsoleTest, BytesHaveThreeDigitsAndABinaryUnit) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(1023), "1023 B");
  EXPECT_EQ(HumanBytes(1024), "1.00 KiB");
  EXPECT_EQ(HumanBytes(80000), "78.1 KiB");
  EXPECT_EQ(HumanBytes(160000), "156 KiB");
  EXPECT_EQ(HumanBytes(1048575), "1.00 MiB");
  EXPECT_EQ(HumanBytes(int64_t{256} << 20), "256 MiB");
  EXPECT_EQ(HumanBytes(int64_t{3} << 40), "3.00 TiB");
}

TEST(ConsoleTest, SecondsChooseTheirUnit) {
  EXPECT_EQ(HumanSeconds(0), "0 ms");
  EXPECT_EQ(HumanSeconds(0.0000421), "42 us");
  EXPECT_EQ(HumanSeconds(0.0015), "1.50 ms");
  EXPECT_EQ(HumanSeconds(0.0123), "12.3 ms");
  EXPECT_EQ(HumanSeconds(0.42), "420 ms");
  EXPECT_EQ(HumanSeconds(4.05), "4.05 s");
  EXPECT_EQ(HumanSeconds(125.2), "125 s");
}

TEST(ConsoleTest, NumbersKeepThreeDigits) {
  EXPECT_EQ(HumanNumber(0.934), "0.93");
  EXPECT_EQ(HumanNumber(12.47), "12.5");
  EXPECT_EQ(HumanNumber(99.99), "100");
  EXPECT_EQ(HumanNumber(1480.4), "1480");
}

TEST(ConsoleTest, TerminalNeverSeesControlCharactersOfTheModel) {
  EXPECT_EQ(TerminalSafe("plain \xC3\xA9 text\n\twith tab"), "plain \xC3\xA9 text\n\twith tab");
  EXPECT_EQ(TerminalSafe("\x1b[2Jgone\r\x07"), "\xEF\xBF\xBD[2Jgone\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(TerminalSafe("a\xC2\x9B" "31mb\x7f"), "a\xEF\xBF\xBD" "31mb\xEF\xBF\xBD");
  EXPECT_EQ(TerminalSafe("\xC2\xA0"), "\xC2\xA0");  // a space, not a control character
}

TEST(ConsoleTest, ColorsOnlyWhenAsked) {
  EXPECT_EQ(Bold("x", false), "x");
  EXPECT_EQ(Bold("x", true), "\x1b[1mx\x1b[0m");
  EXPECT_EQ(Dim("x", false), "x");
}

TEST(ConsoleTest, WidthCountsCharacters) { EXPECT_EQ(DisplayWidth("caf\xC3\xA9"), 4); }

}  // namespace
}  // namespace ration
