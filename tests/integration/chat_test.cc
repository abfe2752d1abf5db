// Conversations over real gRPC to a server with a tiny model and a chat template in its directory.
#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/model_host.h"
#include "server/server.h"
#include "server/server_options.h"
#include "tests/integration/puppet_server.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kTemplate[] = R"({{ bos_token }}
{%- for m in messages %}
{%- if m.role == 'villain' %}{{ raise_exception('Villains may not speak') }}{% endif %}
{{- m.role }}: {{ m.content | trim }}{{ eos_token }}
{%- if m.mood is defined %} ({{ m.mood }}){% endif %}
{%- endfor %}
{%- if add_generation_prompt %}assistant:{% endif %}
{%- if loud is true %} AND LOUD{{ level }}{% endif %})";

// A server whose directory holds `files` besides the model.
class ChatServer {
 public:
  struct File {
    std::string name, content;
  };
  explicit ChatServer(const std::vector<File>& files, const std::string& max_prompt_bytes = "64KiB") {
    for (const File& file : files) std::ofstream(checkpoint_.File(file.name), std::ios::binary) << file.content;
    v1::ServerConfig flags;
    flags.set_model(checkpoint_.directory());
    flags.set_listen("127.0.0.1:0");
    flags.set_metrics_listen("127.0.0.1:0");
    flags.set_control_listen("127.0.0.1:0");
    flags.set_kv_budget("2MiB");
    flags.set_threads(1);
    flags.set_max_prompt_bytes(max_prompt_bytes);
    const auto options = ParseOptions(flags);
    EXPECT_TRUE(options.ok()) << options.status();
    auto model = LoadServedModel(*options);
    EXPECT_TRUE(model.ok()) << model.status();
    auto server = Server::Start(options->server, *std::move(model));
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = CreateChannel(server_->port());
    stub_ = v1::Generation::NewStub(channel_);
  }
  v1::Generation::Stub& stub() { return *stub_; }

  v1::TokenizeResponse Tokenize(const v1::TokenizeRequest& request) {
    grpc::ClientContext call;
    v1::TokenizeResponse response;
    const grpc::Status status = stub_->Tokenize(&call, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::GetModelInfoResponse Info() {
    grpc::ClientContext call;
    v1::GetModelInfoResponse response;
    EXPECT_TRUE(stub_->GetModelInfo(&call, v1::GetModelInfoRequest(), &response).ok());
    return response;
  }

 private:
  static std::shared_ptr<grpc::Channel> CreateChannel(int port);
  TinyCheckpoint checkpoint_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Generation::Stub> stub_;
};

std::shared_ptr<grpc::Channel> ChatServer::CreateChannel(int port) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(), arguments);
}

std::vector<ChatServer::File> WithTemplate(const std::string& text) {
  return {{"chat_template.jinja", text},
          {"tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})"}};
}

void Say(v1::Messages* messages, const std::string& role, const std::string& content) {
  v1::ChatMessage& message = *messages->add_messages();
  message.set_role(role);
  message.set_content(content);
}

v1::GenerateRequest Greedy() {
  v1::GenerateRequest request;
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_new_tokens(12);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_response()->set_echo_prompt(true);
  return request;
}

std::vector<int32_t> Tokens(const StreamResult& result) {
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  std::vector<int32_t> tokens;
  for (const v1::GenerateResponse& message : result.messages) {
    tokens.insert(tokens.end(), message.token_ids().begin(), message.token_ids().end());
  }
  return tokens;
}

grpc::Status StatusOf(ChatServer& server, const v1::GenerateRequest& request) {
  return ReadStream(server.stub(), request).status;
}

TEST(ChatTest, AConversationGivesTheTokensOfItsRenderedTextWithoutASecondBos) {
  ChatServer server(WithTemplate(kTemplate));
  EXPECT_TRUE(server.Info().has_chat_template());
  EXPECT_EQ(server.Info().no_chat_template_reason(), "");
  v1::TokenizeRequest tokenize;
  Say(tokenize.mutable_messages(), "user", "  the hen </s> ");
  Say(tokenize.mutable_messages(), "assistant", "he");
  const v1::TokenizeResponse rendered = server.Tokenize(tokenize);
  EXPECT_EQ(rendered.text(), "<s>user: the hen </s></s>assistant: he</s>assistant:");
  ASSERT_GT(rendered.ids_size(), 3);
  EXPECT_EQ(rendered.ids(0), 1);  // the template's BOS, as one token,
  EXPECT_NE(rendered.ids(1), 1);  // and no other
  EXPECT_EQ(std::count(rendered.ids().begin(), rendered.ids().end(), 2), 3);

  v1::TokenizeRequest as_text;
  as_text.set_text(rendered.text());
  as_text.set_add_special_tokens(false);
  EXPECT_THAT(rendered.ids(), ElementsAreArray(server.Tokenize(as_text).ids()));

  v1::GenerateRequest chat = Greedy();
  *chat.mutable_messages() = tokenize.messages();
  v1::GenerateRequest ids = Greedy();
  for (int32_t id : rendered.ids()) ids.mutable_token_ids()->add_ids(id);
  const StreamResult from_chat = ReadStream(server.stub(), chat);
  EXPECT_THAT(Tokens(from_chat), ElementsAreArray(Tokens(ReadStream(server.stub(), ids))));
  EXPECT_EQ(from_chat.messages[0].prompt_info().text(), rendered.text());
  EXPECT_EQ(from_chat.messages[0].prompt_info().prompt_tokens(), rendered.ids_size());
}

TEST(ChatTest, GenerationPromptVariablesNamesAndExtraKeysReachTheTemplate) {
  ChatServer server(WithTemplate(absl::StrCat(kTemplate, "{{ messages[0].name }}{{ more | tojson }}")));
  v1::TokenizeRequest request;
  v1::Messages& messages = *request.mutable_messages();
  Say(&messages, "user", "a");
  messages.mutable_messages(0)->set_name("Ada");
  (*messages.mutable_messages(0)->mutable_extra()->mutable_fields())["mood"].set_string_value("glad");
  messages.set_add_generation_prompt(false);
  auto& variables = *messages.mutable_template_variables()->mutable_fields();
  variables["loud"].set_bool_value(true);
  variables["level"].set_number_value(7);
  (*variables["more"].mutable_struct_value()->mutable_fields())["x"]
      .mutable_list_value()
      ->add_values()
      ->set_number_value(1.5);
  EXPECT_EQ(server.Tokenize(request).text(), "<s>user: a</s> (glad) AND LOUD7Ada{\"x\": [1.5]}");
}

TEST(ChatTest, WhatTheTemplateRefusesIsInvalidArgumentWithItsOwnWords) {
  ChatServer server(WithTemplate(kTemplate));
  v1::GenerateRequest request = Greedy();
  Say(request.mutable_messages(), "villain", "ha");
  EXPECT_EQ(StatusOf(server, request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(StatusOf(server, request).error_message(), StartsWith("messages: Villains may not speak"));
}

TEST(ChatTest, ATemplateThatFailsNamesLineAndColumn) {
  ChatServer server(WithTemplate("{% if true %}\n  {{ messages[0].content + 1 }}{% endif %}"));
  v1::GenerateRequest request = Greedy();
  Say(request.mutable_messages(), "user", "a");
  EXPECT_EQ(StatusOf(server, request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(StatusOf(server, request).error_message(), StartsWith("messages: chat_template:2:26: "));
}

TEST(ChatTest, WithoutATemplateOnlyMessagesAreRefused) {
  ChatServer server({});
  EXPECT_FALSE(server.Info().has_chat_template());
  v1::GenerateRequest request = Greedy();
  Say(request.mutable_messages(), "user", "a");
  const grpc::Status status = StatusOf(server, request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("send the prompt as text"));
  request.set_text("the hen");
  EXPECT_TRUE(StatusOf(server, request).ok());
}

TEST(ChatTest, ATemplateThatDoesNotParseLeavesTextServed) {
  ChatServer server(WithTemplate("{{ messages }}\n{% include 'x' %}"));
  EXPECT_FALSE(server.Info().has_chat_template());
  EXPECT_THAT(server.Info().no_chat_template_reason(), StartsWith("chat_template:2:4: statement \"include\""));
  v1::GenerateRequest request = Greedy();
  Say(request.mutable_messages(), "user", "a");
  const grpc::Status status = StatusOf(server, request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("chat_template:2:4: statement \"include\" is not supported"));
  request.set_text("the hen");
  EXPECT_TRUE(StatusOf(server, request).ok());
}

TEST(ChatTest, APromptThatTheTemplateMakesTooLongIsRefused) {
  ChatServer server(WithTemplate("{% for i in range(100) %}{{ messages[0].content }}{% endfor %}"), "1KiB");
  v1::GenerateRequest request = Greedy();
  Say(request.mutable_messages(), "user", std::string(100, 'a'));
  EXPECT_EQ(StatusOf(server, request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(StatusOf(server, request).error_message(), HasSubstr("1024 bytes"));
}

}  // namespace
}  // namespace ration
