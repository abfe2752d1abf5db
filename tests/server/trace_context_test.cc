#include "server/trace_context.h"

#include <string>

#include <gtest/gtest.h>

namespace ration {
namespace {

const std::string kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";
const std::string kParent = "00f067aa0ba902b7";
const std::string kValid = "00-" + kTrace + "-" + kParent + "-01";

TEST(TraceContext, ReadsWhatTheStandardSays) {
  const auto context = TraceContext::Parse(kValid);
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(context->trace_id, kTrace);
  EXPECT_EQ(context->parent_id, kParent);
}

TEST(TraceContext, TakesLaterVersionsWithMoreBehind) {
  EXPECT_TRUE(TraceContext::Parse("01" + kValid.substr(2)).has_value());
  EXPECT_TRUE(TraceContext::Parse("cc" + kValid.substr(2) + "-what the future brings").has_value());
}

TEST(TraceContext, IgnoresEverythingElse) {
  std::string zero_trace = kValid, zero_parent = kValid;
  zero_trace.replace(3, 32, 32, '0');
  zero_parent.replace(36, 16, 16, '0');
  const std::string bad[] = {
      "",
      "00",
      kValid.substr(0, 54),                    // too short
      kValid + "0",                            // too long
      kValid + "-",                            // version 00 ends there
      "cc" + kValid.substr(2) + "x",           // no dash behind
      "ff" + kValid.substr(2),                 // forbidden
      "0x" + kValid.substr(2),                 // not hexadecimal
      "00_" + kValid.substr(3),                // no dash
      zero_trace,
      zero_parent,
      "00-" + kTrace + "-" + kParent + "-0g",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + kParent + "-01",  // upper case
      " " + kValid.substr(0, 54),
      std::string(55, '\0'),
  };
  for (const std::string& text : bad) EXPECT_FALSE(TraceContext::Parse(text).has_value()) << text;
}

// Every single change of a character to one that is not allowed there is noticed.
TEST(TraceContext, NoticesEveryWrongCharacter) {
  for (size_t i = 0; i < kValid.size(); ++i) {
    std::string text = kValid;
    text[i] = 'G';
    EXPECT_FALSE(TraceContext::Parse(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace ration
