// Tests engine/base/byte_size.cc: sizes as people write them.
#include "engine/base/byte_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

TEST(ParseByteSizeTest, ReadsNumbersAndSuffixes) {
  const struct {
    const char* text;
    int64_t bytes;
  } cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"1B", 1},
      {"17 b", 17},
      {"1K", 1024},
      {"1kib", 1024},
      {"1KB", 1000},
      {"256MiB", 256 << 20},
      {"256M", 256 << 20},
      {"2 GB", 2000000000},
      {"1.5GiB", 3 << 29},
      {" 3 TiB ", int64_t{3} << 40},
      {".5KiB", 512},
      {"0.001KB", 1},
      {"1tb", 1000000000000},
  };
  for (const auto& c : cases) {
    const auto bytes = ParseByteSize(c.text);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_EQ(*bytes, c.bytes) << c.text;
  }
}

TEST(ParseByteSizeTest, RefusesAnythingElseQuotingIt) {
  for (const char* text : {"",
                           " ",
                           "MiB",
                           "-1",
                           "-1MiB",
                           "+5",
                           "1e9",
                           "0x10",
                           "1.2.3MiB",
                           ".",
                           "1 Mi B",
                           "1MiBs",
                           "1PiB",
                           "1ib",
                           "nan",
                           "inf",
                           "12 12",
                           "1,5GiB",
                           "99999999999TiB",
                           "1000000000000000000000000"}) {
    const auto bytes = ParseByteSize(text);
    EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(bytes.status().message()), HasSubstr(absl::StrCat("\"", text, "\"")));
  }
}

TEST(FormatByteSizeTest, ThreeDigitsAndASuffix) {
  EXPECT_EQ(FormatByteSize(0), "0 B");
  EXPECT_EQ(FormatByteSize(512), "512 B");
  EXPECT_EQ(FormatByteSize(1023), "1023 B");
  EXPECT_EQ(FormatByteSize(1024), "1.00 KiB");
  EXPECT_EQ(FormatByteSize(3 << 19), "1.50 MiB");
  EXPECT_EQ(FormatByteSize(12345678), "11.8 MiB");
  EXPECT_EQ(FormatByteSize(int64_t{300} << 30), "300 GiB");
  EXPECT_EQ(FormatByteSize(INT64_MAX), "8.00 EiB");
  EXPECT_EQ(FormatByteSize(-2048), "-2.00 KiB");
}

TEST(FormatByteSizeTest, ReadsBackWithinHalfAPercent) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const int64_t bytes = static_cast<int64_t>(random() >> (random() % 44 + 18));
    const std::string text = FormatByteSize(bytes);
    const auto again = ParseByteSize(text);
    ASSERT_TRUE(again.ok()) << text << ": " << again.status();
    ASSERT_NEAR(static_cast<double>(*again), static_cast<double>(bytes), 0.0051 * static_cast<double>(bytes)) << text;
  }
}

}  // namespace
}  // namespace ration
