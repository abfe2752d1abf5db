// Tests engine/tokenizer/regex.cc and regex_syntax.cc: the same parts as Oniguruma, which tokenizer.json's expressions are
// written for, finds them; refusals; limits against expressions and texts that want to take for ever.
#include "engine/tokenizer/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/byte_level.h"
#include "tests/engine/tokenizer/oniguruma.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

constexpr char kLlama3[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// `text` with every match in brackets.
std::string Mark(const std::string& pattern, absl::string_view text) {
  const absl::StatusOr<Regex> regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status();
  if (!regex.ok()) return {};
  RegexBudget budget;
  std::string marked;
  const absl::Status status = regex->Split(text, budget, [&](absl::string_view part, bool is_match) {
    absl::StrAppend(&marked, is_match ? "[" : "", part, is_match ? "]" : "");
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return marked;
}

void Append(char32_t c, std::string& text) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
  } else if (c < 0x10000) {
    text += {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)),
             static_cast<char>(0x80 | (c & 0x3F))};
  } else {
    text += {static_cast<char>(0xF0 | (c >> 18)), static_cast<char>(0x80 | ((c >> 12) & 0x3F)),
             static_cast<char>(0x80 | ((c >> 6) & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
  }
}

TEST(RegexTest, EveryCharacterIsInTheSameClassesAsInOniguruma) {
  std::string text;  // every character once
  for (char32_t c = 1; c <= 0x10FFFF; ++c) {
    if (c < 0xD800 || c > 0xDFFF) Append(c, text);
  }
  for (const char* pattern : {R"(\s)",
                              R"(\S)",
                              R"(\w)",
                              R"(\W)",
                              R"(\d)",
                              R"(\D)",
                              R"(\p{L})",
                              R"(\p{N})",
                              R"(\p{P})",
                              R"(\p{S})",
                              R"(\p{M})",
                              R"(\P{Lu})",
                              R"(\p{^Ll})",
                              R"(\p{Lm})",
                              R"(\p{Lo})",
                              R"(\p{Lt})",
                              R"(\p{Han})",
                              R"(\p{Hiragana})",
                              R"(\p{Greek})",
                              R"(\p{Letter})",
                              R"(\p{Alphabetic})",
                              R"(\p{White_Space})",
                              R"([^\s\p{L}\p{N}])",
                              R"([\S\n])",
                              R"([^\D7])",
                              R"((?i:s))",
                              R"((?i:k\u00e9))",
                              R"([\w&])",
                              ".",
                              R"([\u4e00-\u9fa5\x{3040}-\x{30ff}])"}) {
    EXPECT_TRUE(Mark(pattern, text) == Oniguruma(pattern).Mark(text)) << pattern;
  }
}

TEST(RegexTest, RealExpressionsCutRandomTextsAsOnigurumaDoes) {
  const char32_t alphabet[] = {' ',  ' ',   ' ',    '\n',   '\r',    '\t',   'a',   'Z',  's',    't',    '\'',   'l',
                               '1',  '2',   '.',    ',',    '!',     '-',    0x85,  0xA0, 0x180E, 0x3000, 0x2028, 0x17F,
                               0xE9, 0x301, 0x4E2D, 0x3042, 0x1F600, 0x200D, 0x660, 0xBD, 0x2160, 0x212A, '(',    '|'};
  std::mt19937 random(3);
  for (
      const char* pattern :
      {kGpt2WordRegex, kLlama3,
       // o200k, DeepSeek, BLOOM, Qwen: the shapes that other families use.
       R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
        R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
        R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+",
       R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       R"(\w+|[^\w\s]+)", R"((?<=a) +|(?<! )1$|^\s+?\S)", R"([0-9]{2,3}?|(?>a|as)t++|x)", R"((?i)S+L|z{,2}a)"}) {
    Oniguruma oniguruma(pattern);
    for (int round = 0; round < 2000; ++round) {
      std::string text;
      for (size_t i = random() % 24; i > 0; --i) Append(alphabet[random() % std::size(alphabet)], text);
      ASSERT_EQ(Mark(pattern, text), oniguruma.Mark(text)) << pattern << "\n" << text;
    }
  }
}

TEST(RegexTest, EmptyMatchesAreFoundOnceAndNotBehindAMatch) {
  EXPECT_EQ(Mark("x*", "axxb"), "[]a[xx]b[]");
  EXPECT_EQ(Mark("(?=b)", "ab\u00e9b"), "a[]b\u00e9[]b");
  EXPECT_EQ(Mark("x*", ""), "[]");
}

TEST(RegexTest, WhatOnigurumaUnderstandsOtherwiseIsRefused) {
  const std::pair<const char*, const char*> refused[] = {
      {R"(a\b)", "\"\\\\b\" at byte 1"},
      {R"((a)\1)", "\"\\\\1\" at byte 3"},
      {R"((?<n>a))", "\"(?<\" at byte 0"},
      {R"((?#a))", "\"(?#\" at byte 0"},
      {R"((*ACCEPT))", "\"(*A\" at byte 0"},
      {R"((?C1)a)", "\"(?C\""},
      {R"((?R))", "\"(?R\""},
      {R"(a(?i)b)", "\"(?i\""},
      {R"((?m:a))", "\"(?m\""},
      {R"([a&&b])", "an intersection of classes"},
      {R"([[:alpha:]])", "\"[:\""},
      {R"([a[^b]])", "a negated class inside a class"},
      {R"([]a])", "] as the first"},
      {R"([\w-z])", "a hyphen beside a set"},
      {R"([\W])", "\\W in a class"},
      {R"(a{2}+)", "a suffix to \"{2}\""},
      {R"(a**)", "a quantifier without"},
      {R"(*a)", "a quantifier without"},
      {R"(\h)", "\"\\\\h\""},
      {R"(\R)", "\"\\\\R\""},
      {R"(\K)", "\"\\\\K\""},
      {R"(\xFF)", "a lone byte"},
      {R"(\G)", "\"\\\\G\""},
  };
  for (const auto& [pattern, message] : refused) {
    const absl::Status status = Regex::Compile(pattern).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << pattern;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << pattern;
  }
}

TEST(RegexTest, BrokenExpressionsAreRefused) {
  const std::string nested = std::string(200, '(') + "a" + std::string(200, ')');
  std::string huge = "a";
  for (int i = 0; i < 5; ++i) huge = absl::StrCat("(?:", huge, "){500}");
  for (const std::string& pattern :
       {std::string("("), std::string(")"), std::string("[a"), std::string("a\\"), std::string("\\p{Nonsense}"),
        std::string("\\pL"), std::string("[z-a]"), std::string("\\x{110000}"), std::string("\\x{D800}"),
        std::string("a{9,1}"), std::string("(?<=a+)b"), std::string("\\p{L"), nested, huge, std::string(20000, 'a')}) {
    EXPECT_EQ(Regex::Compile(pattern).status().code(), absl::StatusCode::kInvalidArgument) << pattern.substr(0, 100);
  }
}

// Each of these would run for hours or take all memory if nothing stopped it. The budget is a little time so that the
// test is quick; a real text has RegexBudget's default.
TEST(RegexTest, ExpressionsThatExplodeAreStopped) {
  for (const char* pattern :
       {"(?:a*)*[bc]", "(?:a|a)*[bc]", "a*a*a*a*a*a*[bc]", "(?:a+)+$[bc]", "a+[bc]", "(?=(?:a+)+b)a", "(?:.*a){12}[bc]",
        "(?:a?){40}(?:a){40}[bc]", "(?:a*)*b", "a+b", ".*[bc]", "(?<=b)a|a+[bc]"}) {
    const absl::StatusOr<Regex> regex = Regex::Compile(pattern);
    ASSERT_TRUE(regex.ok()) << regex.status();
    RegexBudget budget(0.1);
    const absl::Status status =
        regex->Split(std::string(1 << 20, 'a'), budget, [](absl::string_view, bool) { return absl::OkStatus(); });
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pattern;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a regular expression ")) << pattern;
  }
}

TEST(RegexTest, LongRunsAreCutWithoutReachingAnyLimit) {
  constexpr size_t kLong = 4 << 20;
  for (const char* pattern : {kGpt2WordRegex, kLlama3}) {
    for (const char* piece : {"a", " ", "\n", "7", "\U0001F600", " \n", "'", "\u00e9", "a ", "\r"}) {
      std::string text;
      while (text.size() < kLong) text += piece;
      size_t bytes = 0;
      RegexBudget budget;
      EXPECT_TRUE(Regex::Compile(pattern)
                      ->Split(text, budget,
                              [&](absl::string_view part, bool is_match) {
                                EXPECT_TRUE(is_match);
                                bytes += part.size();
                                return absl::OkStatus();
                              })
                      .ok());
      EXPECT_EQ(bytes, text.size()) << pattern << piece;
    }
  }
}

TEST(RegexTest, TheSinksStatusEndsTheSearch) {
  int calls = 0;
  RegexBudget budget;
  const absl::Status status = Regex::Compile("a")->Split("aaa", budget, [&](absl::string_view, bool) {
    ++calls;
    return absl::CancelledError("enough");
  });
  EXPECT_EQ(status, absl::CancelledError("enough"));
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace ration
