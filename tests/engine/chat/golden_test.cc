// Every committed golden text, made by jinja2 (golden/README.md), must come out the same.
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/engine/chat/json_value.h"

namespace ration {
namespace {

using Json = nlohmann::ordered_json;

std::string Read(const std::string& name) {
  std::ifstream file("tests/engine/chat/golden/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

void Check(const Json& expected, const std::string& template_text, Json conversation) {
  SCOPED_TRACE(absl::StrCat(template_text, "\n", conversation.dump().substr(0, 500)));
  conversation["special_tokens"] = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  const absl::StatusOr<std::string> text = RenderCase(template_text, conversation);
  if (expected.contains("text")) {
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, expected["text"].get<std::string>());
    return;
  }
  ASSERT_FALSE(text.ok()) << *text;
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  if (expected.contains("refused")) {
    EXPECT_EQ(text.status().message(),
              absl::StrCat(expected["refused"].get<std::string>(), " (the chat template refuses the conversation)"));
  } else {
    EXPECT_TRUE(absl::StartsWith(text.status().message(), "chat_template:")) << text.status();
  }
}

TEST(ChatGoldenTest, FamiliesRenderAsJinja2RendersThem) {
  std::map<std::string, Json> conversations;
  for (const Json& conversation : Json::parse(Read("conversations.json"))) {
    conversations[conversation["name"].get<std::string>()] = conversation;
  }
  const Json expected = Json::parse(Read("expected.json"))["families"];
  ASSERT_GE(expected.size(), 100u);
  for (const Json& entry : expected) {
    const auto conversation = conversations.find(entry["conversation"].get<std::string>());
    ASSERT_NE(conversation, conversations.end());
    Check(entry, Read(absl::StrCat("templates/", entry["template"].get<std::string>())), conversation->second);
  }
}

TEST(ChatGoldenTest, SnippetsRenderAsJinja2RendersThem) {
  const Json variables = Json::parse(Read("variables.json"));
  const Json expected = Json::parse(Read("expected.json"))["snippets"];
  ASSERT_GE(expected.size(), 150u);
  for (const Json& entry : expected) {
    Check(entry, entry["template"].get<std::string>(), Json{{"messages", Json::array()}, {"variables", variables}});
  }
}

}  // namespace
}  // namespace ration
