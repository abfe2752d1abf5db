// Where a directory's template and special tokens come from.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/chat/chat_template_files.h"

namespace ration {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

class ChatTemplateFilesTest : public ::testing::Test {
 protected:
  ChatTemplateFilesTest() {
    std::string path = ::testing::TempDir() + "/chat_template_XXXXXX";
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    directory_ = path;
  }
  ~ChatTemplateFilesTest() override { std::filesystem::remove_all(directory_); }
  void Write(const std::string& name, const std::string& content) { std::ofstream(directory_ + "/" + name) << content; }
  // What the directory's template makes of one message; or the error.
  std::string Render() {
    const auto loaded = LoadChatTemplate(directory_);
    if (!loaded.ok()) return loaded.status().ToString();
    Conversation conversation;
    conversation.messages.push_back({"user", "hi", std::nullopt, {}});
    return (*loaded)->Render(conversation, 1000, absl::UnixEpoch()).value_or("render failed");
  }
  std::string directory_;
};

TEST_F(ChatTemplateFilesTest, TheFileOfItsOwnComesFirst) {
  Write("chat_template.jinja", "own {{ messages[0].content }}\n");
  Write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(Render(), "own hi");
}

TEST_F(ChatTemplateFilesTest, TheTokenizersConfigurationComesNext) {
  Write("tokenizer_config.json", R"({"chat_template": "config {{ messages[0].role }}"})");
  EXPECT_EQ(Render(), "config user");
}

TEST_F(ChatTemplateFilesTest, OfSeveralTheDefaultIsTaken) {
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(Render(), "d");
}

TEST_F(ChatTemplateFilesTest, SpecialTokensComeAsTextOrObjectFromEitherFile) {
  Write("chat_template.jinja", "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ pad_token is defined }}");
  Write("tokenizer_config.json",
        R"({"bos_token": "<b>", "eos_token": {"content": "<e>", "special": true}, "pad_token": null})");
  Write("special_tokens_map.json", R"({"bos_token": "<other>", "unk_token": {"content": "<u>"}, "pad_token": "<p>"})");
  EXPECT_EQ(Render(), "<b>|<e>|<u>|False");
}

TEST_F(ChatTemplateFilesTest, ADirectoryWithoutATemplateIsNotFound) {
  EXPECT_THAT(Render(), HasSubstr("NOT_FOUND"));
  Write("tokenizer_config.json", R"({"bos_token": "<b>", "chat_template": null})");
  EXPECT_THAT(Render(), HasSubstr("NOT_FOUND"));
}

TEST_F(ChatTemplateFilesTest, WhatIsWrongIsNamedWithItsFile) {
  Write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_THAT(Render(), EndsWith("tokenizer_config.json: chat_template: must be a string or an array, not number"));
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "x", "template": "t"}]})");
  EXPECT_THAT(Render(), EndsWith("chat_template: none of 1 is named \"default\""));
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_THAT(Render(), EndsWith("the one named \"default\" has no template"));
  Write("tokenizer_config.json", "[]");
  EXPECT_THAT(Render(), EndsWith("tokenizer_config.json: must be an object, not array"));
  Write("tokenizer_config.json", "{");
  EXPECT_THAT(Render(), HasSubstr("tokenizer_config.json: not valid JSON"));
}

}  // namespace
}  // namespace ration
