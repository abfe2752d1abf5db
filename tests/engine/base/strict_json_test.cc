// Tests engine/base/strict_json.cc and quote.cc: what JSON of outside origin may look like, and how it is shown in
// messages.
#include "engine/base/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(StrictJsonTest, EqualsTheLibrarysParserOnValidText) {
  for (const std::string& text :
       {std::string(R"({"a": {"b": [1, -2, 3.5, "x", null, true, [], {}], "c": {"a": false}}, "b": "\u00e9\n"})"),
        std::string("[]"), std::string("{}"), std::string("3"), std::string(" \"x\" "),
        std::string("18446744073709551615"), std::string("[[1],[2,[3]],{\"k\":[4]}]"), Nested(kMaxJsonDepth)}) {
    const auto value = ParseStrictJson(text, "file");
    ASSERT_TRUE(value.ok()) << value.status();
    EXPECT_EQ(*value, nlohmann::json::parse(text)) << text;
  }
}

TEST(StrictJsonTest, RefusesEverythingElse) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[1,]"), std::string("{} {}"), std::string("nul"),
        std::string("1e999"), std::string("\"\xff\""), std::string("\"\xed\xa0\x80\""), std::string("{'a': 1}"),
        std::string("[1 // one\n]"), std::string("{\"a\": 1}\0", 9), std::string("NaN"), Nested(kMaxJsonDepth + 1),
        std::string(100000, '['), std::string(R"({"a":1,"a":1})"),
        std::string(R"([{"b":{"a":1,"x":{"a":2},"a":3}}])")}) {
    const auto value = ParseStrictJson(text, "some/file.json");
    ASSERT_EQ(value.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(value.status().message()), StartsWith("some/file.json: not valid JSON: "));
    EXPECT_LT(value.status().message().size(), 1500u);
  }
  EXPECT_THAT(std::string(ParseStrictJson(R"({"a":1,"a":1})", "f").status().message()),
              HasSubstr("\"a\" occurs twice"));
  EXPECT_THAT(std::string(ParseStrictJson(Nested(65), "f").status().message()), HasSubstr("deeper than 64"));
  EXPECT_THAT(std::string(ParseStrictJson("{\n\"a\" 1}", "f").status().message()), HasSubstr("line 2, column 5"));
  EXPECT_THAT(std::string(ParseStrictJson("\"a\xfc\"", "f").status().message()), HasSubstr("a\\xfc"));
}

TEST(QuotedTest, EscapesAndShortens) {
  EXPECT_EQ(Quoted("model.norm"), "\"model.norm\"");
  EXPECT_EQ(Quoted("a\nb\"\x01"), "\"a\\nb\\\"\\x01\"");
  EXPECT_EQ(Quoted("\u00e9"), "\"\u00e9\"");
  EXPECT_EQ(Quoted(std::string(100, 'x')), absl::StrCat("\"", std::string(100, 'x'), "\""));
  EXPECT_EQ(Quoted(std::string(101, 'x')), absl::StrCat("\"", std::string(100, 'x'), "...\""));
  EXPECT_EQ(Quoted(std::string(99, 'x') + "\u00e9y"),
            absl::StrCat("\"", std::string(99, 'x'), "...\""));  // not half of the letter
  EXPECT_LT(Quoted(std::string(1000, '\xff')).size(), 500u);
}

}  // namespace
}  // namespace ration
