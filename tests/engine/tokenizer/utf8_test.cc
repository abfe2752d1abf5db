// Tests engine/tokenizer/utf8.cc.
#include "engine/tokenizer/utf8.h"

#include <string>

#include <gtest/gtest.h>

#include "absl/strings/string_view.h"

namespace ration {
namespace {

std::string Encode(char32_t c) {
  std::string text;
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | (c >> 6));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | (c >> 12));
    text += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | (c >> 18));
    text += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    text += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  }
  return text;
}

TEST(Utf8Test, EveryCodePointExceptSurrogatesIsValid) {
  for (char32_t c = 0; c < 0x110800; ++c) {
    const std::string text = Encode(c);
    const bool valid = c < 0x110000 && (c < 0xD800 || c > 0xDFFF);
    ASSERT_EQ(Utf8CharLength(text), valid ? static_cast<int>(text.size()) : -1) << static_cast<uint32_t>(c);
    if (!valid) continue;
    ASSERT_EQ(FirstCodePoint(text), c);
    ASSERT_EQ(LastCharOffset("x" + text), 1u);
    for (size_t cut = 1; cut < text.size(); ++cut) ASSERT_EQ(Utf8CharLength(text.substr(0, cut)), 0);
  }
}

TEST(Utf8Test, BrokenSequencesAreInvalid) {
  for (const char* text : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xF0\x80\x80\x80",
                           "\xF5\x80\x80\x80", "\xFF", "\xC3\x28", "\xE2\x82\x28", "\xF0\x9F\x98\xFF"}) {
    EXPECT_EQ(Utf8CharLength(text), -1) << testing::PrintToString(text);
  }
}

TEST(Utf8Test, FirstInvalidByteIsFound) {
  EXPECT_EQ(FindInvalidUtf8(""), absl::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("a\u00e9\U0001F600"), absl::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("a\u00e9\xFFz"), 3u);
  EXPECT_EQ(FindInvalidUtf8("ab\xE2\x82"), 2u) << "the text ends inside a character";
}

TEST(Utf8Test, ClassesFollowUnicode) {
  for (char32_t c : {U' ', U'\t', U'\n', U'\r', U'\u0085', U'\u00a0', U'\u2003', U'\u2028', U'\u3000'})
    EXPECT_TRUE(IsWhiteSpace(c));
  for (char32_t c : {U'a', U'\u200b', U'\u2581', U'\0', U'\ufeff'}) EXPECT_FALSE(IsWhiteSpace(c));
  for (char32_t c : {U'a', U'_', U'7', U'\u00e9', U'\u0301', U'\u4e2d', U'\u2160', U'\u24b6', U'\u200d'})
    EXPECT_TRUE(IsWordCharacter(c));
  for (char32_t c : {U' ', U'-', U'.', U'\u2581', U'\u00b2', U'\U0001F600'}) EXPECT_FALSE(IsWordCharacter(c));
  EXPECT_EQ(StripLeadingWhiteSpace(" \u3000\na "), "a ");
  EXPECT_EQ(StripTrailingWhiteSpace(" a\u3000\n "), " a");
  EXPECT_EQ(StripTrailingWhiteSpace(" \t"), "");
}

}  // namespace
}  // namespace ration
