// rationctl chat against a server that says what a test tells it to.
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "client/chat_session.h"
#include "client/commands.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_generation_service.h"

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ChatCommandTest : public ::testing::Test {
 protected:
  ChatCommandTest() {
    service_.replies = testing::StoryReplies();
    console_.in = &in_;
    console_.out = &out_;
    console_.err = &err_;
  }
  int Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"chat", "--server=" + service_.target()});
    return RunRationctl(arguments, console_, &cancellation_);
  }
  // "role: content" of the messages sent last.
  std::vector<std::string> Sent() const {
    std::vector<std::string> sent;
    for (const v1::ChatMessage& message : service_.generate_request.messages().messages()) {
      sent.push_back(message.role() + ": " + message.content());
    }
    return sent;
  }

  testing::FakeGenerationService service_;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
  Console console_;
  Cancellation cancellation_;
};

TEST_F(ChatCommandTest, OneQuestionIsAskedAndAnswered) {
  ASSERT_EQ(Run({"--system=Be brief.", "--temperature=0", "--max_new_tokens=9", "--stop=END", "Hi there"}), kExitOk);
  EXPECT_EQ(out_.str(), "Once upon a time\n");
  EXPECT_THAT(Sent(), ElementsAre("system: Be brief.", "user: Hi there"));
  EXPECT_EQ(service_.generate_request.sampling().temperature(), 0);
  EXPECT_EQ(service_.generate_request.stopping().max_new_tokens(), 9);
  EXPECT_EQ(service_.generate_request.stopping().stop_strings(0), "END");
  EXPECT_FALSE(service_.generate_request.messages().has_add_generation_prompt());
}

TEST_F(ChatCommandTest, TemplateVariablesAreJson) {
  ASSERT_EQ(Run({"--user=x", R"(--template_variables={"enable_thinking": false, "n": [1, "a"]})"}), kExitOk);
  const auto& variables = service_.generate_request.messages().template_variables().fields();
  EXPECT_FALSE(variables.at("enable_thinking").bool_value());
  EXPECT_EQ(variables.at("n").list_value().values(1).string_value(), "a");
  EXPECT_EQ(Run({"--user=x", "--template_variables=[1]"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--template_variables: must be a JSON object"));
}

TEST_F(ChatCommandTest, AConversationIsRememberedUntilItIsReset) {
  in_.str("one\n\ntwo \\\nlines\n/help\n/nonsense\n");
  ASSERT_EQ(Run({"--system=s"}), kExitOk);
  EXPECT_THAT(Sent(), ElementsAre("system: s", "user: one", "assistant: Once upon a time", "user: two \nlines"));
  EXPECT_EQ(out_.str(), "Once upon a time\nOnce upon a time\n");
  EXPECT_THAT(err_.str(), HasSubstr("/reset"));
  EXPECT_THAT(err_.str(), HasSubstr("no command /nonsense"));
  in_.clear();
  in_.str("one\n/reset\nthree\n/quit\nfour\n");
  ASSERT_EQ(Run({"--system=s"}), kExitOk);
  EXPECT_THAT(Sent(), ElementsAre("system: s", "user: three"));
}

TEST_F(ChatCommandTest, ARefusedTurnIsNotRemembered) {
  service_.replies.clear();
  service_.status = grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "messages: no");
  in_.str("one\ntwo\n");
  EXPECT_EQ(Run({}), kExitRpcError);
  EXPECT_THAT(Sent(), ElementsAre("user: two"));
  EXPECT_THAT(err_.str(), HasSubstr("messages: no"));
}

TEST_F(ChatCommandTest, AnInterruptStopsTheAnswerAndNotTheConversation) {
  service_.replies.resize(1);
  service_.hang = true;
  // Cancels as soon as the first text was written.
  class CancelOnce : public std::stringbuf {
   public:
    Cancellation* cancellation = nullptr;
    int sync() override {
      if (Cancellation* const once = std::exchange(cancellation, nullptr)) once->Cancel();
      return std::stringbuf::sync();
    }
  } buffer;
  buffer.cancellation = &cancellation_;
  std::ostream out(&buffer);
  console_.out = &out;
  in_.str("one\n");
  EXPECT_EQ(Run({}), kExitOk);
  EXPECT_EQ(buffer.str(), "Once\n");
  EXPECT_FALSE(cancellation_.cancelled());  // the next turn can be asked
}

TEST_F(ChatCommandTest, WhatThereIsOfAnInterruptedAnswerIsRemembered) {
  service_.replies.resize(1);
  service_.hang = true;
  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(service_.target());
  ChatSession session(client.get(), v1::GenerateRequest(), "");
  const absl::Status status = session.Say(
      "one", [this](const v1::GenerateResponse&) { return cancellation_.Cancel(); }, &cancellation_);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  ASSERT_EQ(session.messages().messages_size(), 2);
  EXPECT_EQ(session.messages().messages(1).role(), "assistant");
  EXPECT_EQ(session.messages().messages(1).content(), "Once");
  session.Reset();
  EXPECT_EQ(session.messages().messages_size(), 0);
}

}  // namespace
}  // namespace ration
