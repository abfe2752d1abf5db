// What a template is refused for, before or while it is rendered: where, and what by name.
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/engine/chat/json_value.h"

namespace ration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Bad {
  const char* name;
  std::string source;
  std::string message;
};
void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

class TemplateErrorTest : public ::testing::TestWithParam<Bad> {};

class ParseErrorTest : public TemplateErrorTest {};
TEST_P(ParseErrorTest, NamesLineColumnAndWhat) {
  const auto parsed = ChatTemplate::Parse(GetParam().source, "chat_template");
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(parsed.status().message(), absl::StrCat("chat_template:", GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Unsupported, ParseErrorTest,
    ::testing::Values(Bad{"filter", "a\n\n{{ 'x' | xmlattr }}", "3:10: filter \"xmlattr\" is not supported"},
                      Bad{"test", "{{ x is filter }}", "1:9: test \"filter\" is not supported"},
                      Bad{"statement", "{% include 'x' %}", "1:4: statement \"include\" is not supported"},
                      Bad{"call_block", "{% call m() %}{% endcall %}", "1:4: statement \"call\" is not supported"},
                      Bad{"recursive", "{% for x in y recursive %}{% endfor %}",
                          "1:15: \"recursive\" is not supported"},
                      Bad{"star", "{{ f(*x) }}", "1:6: \"*\" before an argument is not supported"},
                      Bad{"macro_in_loop", "{% for x in y %}{% macro m() %}{% endmacro %}{% endfor %}",
                          "1:20: a macro inside a for statement, a macro or a block is not supported"},
                      Bad{"hexadecimal", "{{ 0x10 }}", "1:4: only decimal numbers are supported"},
                      Bad{"named_character", R"({{ "\N{BULLET}" }})", "1:4: the escape \"\\N{...}\" is not supported"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Malformed, ParseErrorTest,
    ::testing::Values(
        Bad{"after_wide_characters", "\xC3\xA9\xF0\x9F\x98\x80{{ ! }}", "1:6: unexpected character \"!\""},
        Bad{"open_if", "{% if a %}\n{% for x in y %}", "2:17: the template ends inside \"for\""},
        Bad{"wrong_end", "{% if a %}{% endfor %}", "1:14: unknown statement \"endfor\" inside \"if\""},
        Bad{"no_expression", "{{ }}", "1:4: expected an expression, not \"}}\""},
        Bad{"two_expressions", "{{ a b }}", "1:6: expected \"}}\", not \"b\""},
        Bad{"open_comment", "x {# y", "1:3: the comment has no end"},
        Bad{"open_variable", "x {{ y", "1:3: the expression has no }}"},
        Bad{"open_block", "{% if y", "1:1: the block tag has no %}"},
        Bad{"open_string", "{{ 'abc }}", "1:4: the string has no end"},
        Bad{"open_raw", "{% raw %}{% endra %}", "1:1: the raw block has no endraw"},
        Bad{"bracket", "{{ (1] }}", "1:6: unexpected \"]\" where \")\" is due"},
        Bad{"break_outside", "{% break %}", "1:4: \"break\" stands outside a for statement"},
        Bad{"break_in_set_block", "{% for x in y %}{% set z %}{% break %}{% endset %}{% endfor %}",
            "1:31: \"break\" stands outside a for statement"},
        Bad{"constant", "{% set none = 1 %}", "1:8: \"none\" cannot be assigned to"},
        Bad{"number", "{{ 99999999999999999999 }}", "1:4: the number \"99999999999999999999\" is too large"},
        Bad{"surrogate", R"({{ "\ud800" }})", "1:4: the escape \"\\\\ud800\" is no character"},
        Bad{"keyword_twice", "{{ f(a=1, a=2) }}", "1:11: the argument \"a\" is given twice"},
        Bad{"parameter_twice", "{% macro m(a, a) %}{% endmacro %}", "1:15: the parameter \"a\" occurs twice"}),
    [](const auto& info) { return info.param.name; });

std::string Repeated(const std::string& text, int count) {
  std::string repeated;
  for (int i = 0; i < count; ++i) repeated += text;
  return repeated;
}

TEST(ParseLimitTest, DeepNestingIsRefusedWhateverItIsMadeOf) {
  const int many = 20000;
  for (const std::string& source :
       {"{{ " + Repeated("(", many) + "1" + Repeated(")", many) + " }}",
        "{{ " + Repeated("[", many) + Repeated("]", many) + " }}", "{{ " + Repeated("not ", many) + "1 }}",
        "{{ " + Repeated("- ", many) + "1 }}", "{{ 1" + Repeated(" + 1", many) + " }}",
        "{{ 1" + Repeated("|abs", many) + " }}", "{{ a" + Repeated(".b", many) + " }}",
        "{{ a" + Repeated("[0]", many) + " }}", "{{ a" + Repeated("()", many) + " }}",
        "{{ 1" + Repeated(" if 1 else 1", many) + " }}", "{{ 1" + Repeated(" is defined", many) + " }}",
        Repeated("{% if 1 %}", many), Repeated("{% for x in y %}", many), "{{ {1:" + Repeated("{1:", many)}) {
    const auto parsed = ChatTemplate::Parse(source, "chat_template");
    EXPECT_FALSE(parsed.ok()) << source.substr(0, 20);
  }
  // What does not nest has no limit but the template's size.
  const std::string flat =
      "{{ 1" + Repeated(" ~ 1", 1000) + Repeated(" and 1", 1000) + " }}" + Repeated("{% if 1 %}x{% endif %}", 1000);
  EXPECT_TRUE(ChatTemplate::Parse(flat, "chat_template").ok());
}

TEST(ParseLimitTest, SizeAndEncodingAreChecked) {
  const auto large = ChatTemplate::Parse(std::string((256 << 10) + 1, 'a'), "chat_template");
  EXPECT_EQ(large.status().message(), "chat_template: has 262145 bytes; the limit is 262144");
  const auto bytes = ChatTemplate::Parse("ab\xFF", "chat_template");
  EXPECT_EQ(bytes.status().message(), "chat_template: not valid UTF-8 at byte 2");
}

class RenderErrorTest : public TemplateErrorTest {};
TEST_P(RenderErrorTest, NamesLineColumnAndWhat) {
  const nlohmann::ordered_json input = {{"messages", {{{"role", "user"}, {"content", "hi"}}}}};
  const absl::StatusOr<std::string> text = RenderCase(GetParam().source, input);
  ASSERT_FALSE(text.ok()) << text->substr(0, 100);
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(text.status().message()), absl::StrCat("chat_template:", GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Reasons, RenderErrorTest,
    ::testing::Values(
        Bad{"undefined", "{{ a }}\n{{ a.b }}", "2:5: \"a\" is undefined"},
        Bad{"key", "{{ messages[0].tool.x }}", "1:20: \"tool\" is not defined in the dict"},
        Bad{"element", "{{ messages[5].role }}", "1:15: the list has no element 5"},
        Bad{"filter_reached", "{% if true %}{{ 1 | nofilter }}{% endif %}",
            "1:21: filter \"nofilter\" is not supported"},
        Bad{"method", "{{ 'a'.zfill(3) }}", "1:7: method \"zfill\" of a string is not supported"},
        Bad{"mutation", "{{ messages.append(1) }}", "1:12: method \"append\" of a list is not supported"},
        Bad{"function", "{{ joiner(',') }}", "1:4: \"joiner\" is not supported"},
        Bad{"types", "{{ 1 + 'a' }}", "1:6: \"+\" cannot be applied to int and string"},
        Bad{"formatting", "{{ '%s' % 1 }}", "1:9: \"%\" after a string (formatting) is not supported"},
        Bad{"overflow", "{{ 9223372036854775807 + 1 }}", "1:24: the result does not fit 64 bits"},
        Bad{"negated_overflow", "{{ (-9223372036854775807 - 1) // -1 }}", "1:31: the result does not fit 64 bits"},
        Bad{"division", "{{ 1 % 0 }}", "1:6: division by zero"},
        Bad{"argument", "{{ 'a' | indent(widht=2) }}", "1:10: indent: argument \"widht\" is not supported"},
        Bad{"directive", "{{ strftime_now('%Q') }}", "1:16: strftime_now: the directive \"%Q\" is not supported"},
        Bad{"namespace_text", "{{ namespace() }}", "1:1: a namespace has no text"}),
    [](const auto& info) { return info.param.name; });

// Each would take for ever, or all memory, or the stack.
class RenderLimitTest : public TemplateErrorTest {};
TEST_P(RenderLimitTest, IsNamedWithItsPosition) {
  const absl::StatusOr<std::string> text = RenderCase(GetParam().source, nlohmann::ordered_json::object());
  ASSERT_FALSE(text.ok()) << text->substr(0, 100);
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.status().message()),
              AllOf(StartsWith("chat_template:1:"), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Limits, RenderLimitTest,
    ::testing::Values(
        Bad{"repeated_text", "{{ 'a' * 10**9 }}", "values take more than 67108864 bytes at once"},
        Bad{"repeated_list", "{{ [1] * 10**12 }}", "values take more than 67108864 bytes at once"},
        Bad{"range", "{{ range(10**12) }}", "range: has more than 100000 elements"},
        Bad{"loops", "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "rendering takes more than 4000000 steps"},
        Bad{"doubled", "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
            "values take more than 67108864 bytes at once"},
        Bad{"kept",
            "{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = n.l + ['a' * 10**5] %}{% endfor %}",
            "values take more than 67108864 bytes at once"},
        Bad{"output",
            "{% for i in range(99999) %}0123456789012345678901234567890123456789012345678901234567890123{% endfor %}",
            "a text would be longer than 4194304 bytes"},
        Bad{"shared_parts",
            "{% set n = namespace(l=['abcdefgh']) %}{% for i in range(40) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ "
            "n.l }}",
            "a text would be longer than 4194304 bytes"},
        Bad{"shared_json",
            "{% set n = namespace(l=['abcdefgh']) %}{% for i in range(40) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ "
            "n.l | tojson }}",
            "tojson: a text would be longer than"},
        Bad{"shared_compared",
            "{% set n = namespace(l=[1], m=[1]) %}{% for i in range(40) %}{% set n.l = [n.l, n.l] %}{% set n.m = [n.m, "
            "n.m] %}{% endfor %}"
            "{{ n.l == n.m }}",
            "rendering takes more than 4000000 steps"},
        Bad{"nested_values", "{% set n = namespace(l=[]) %}{% for i in range(99) %}{% set n.l = [n.l] %}{% endfor %}",
            "lists and dicts nest deeper than 64 levels"},
        Bad{"chained_methods",
            "{% set n = namespace(c=0) %}{% for i in range(99999) %}{% set n.c = {'a': n.c}.get %}{% endfor %}",
            "lists and dicts nest deeper than 64 levels"},
        Bad{"chained_loops",
            "{% set n = namespace(c=0) %}{% for i in range(99999) %}{% for x in [n.c] %}{% set n.c = loop.cycle %}"
            "{% endfor %}{% endfor %}",
            "lists and dicts nest deeper than 64 levels"},
        Bad{"namespaces",
            "{% set d = dict(a=1, b=2, c=3, d=4, e=5, f=6, g=7, h=8) %}{% for i in range(99999) %}"
            "{% set x = namespace(d) %}{% endfor %}",
            "values take more than 67108864 bytes at once"},
        Bad{"macro_recursion", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "statements, expressions and macro calls nest deeper than 300 levels"},
        Bad{"replace", "{{ ('a' * 10**5).replace('', 'b' * 10**5) }}",
            "replace: values take more than 67108864 bytes at once"},
        Bad{"join", "{{ range(9999) | join('b' * 10**5) }}", "join: values take more than 67108864 bytes at once"},
        Bad{"indent", "{{ ('a\\n' * 10**5) | indent(10**6) }}", "indent: values take more than 67108864 bytes at once"},
        Bad{"json_indent", "{{ [[1]] | tojson(indent=10**15) }}", "tojson: a text would be longer than"},
        Bad{"characters", "{% for c in 'a' * 10**7 %}{% endfor %}", "values take more than 67108864 bytes at once"}),
    [](const auto& info) { return info.param.name; });

TEST(RenderTest, CyclesThroughNamespacesAndLoopsAreGivenBack) {
  // The leak checker of the address sanitiser looks.
  const std::string source =
      "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = [b] %}{% set a.self = a %}"
      "{% for x in [1, 2] %}{% set a.loop = loop %}{% set a.f = loop.changed %}{{ loop.changed(loop, a) }}{% endfor %}";
  const absl::StatusOr<std::string> text = RenderCase(source, nlohmann::ordered_json::object());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "TrueFalse");
}

TEST(RenderTest, AnExceptionOfTheTemplateIsCutAt500Characters) {
  const absl::StatusOr<std::string> text =
      RenderCase("{{ raise_exception(messages[0].content) }}",
                 {{"messages", {{{"role", "user"}, {"content", Repeated("\xC3\xA9", 100000)}}}}});
  EXPECT_EQ(text.status().message(), Repeated("\xC3\xA9", 500) + " (the chat template refuses the conversation)");
}

}  // namespace
}  // namespace ration
