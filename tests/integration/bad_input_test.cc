// Everything a client can get wrong: the answer names field, limit and value, the engine hears nothing of it, and the server lives on.
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/integration/puppet_server.h"

namespace ration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct BadField {
  const char* name;
  std::function<void(v1::GenerateRequest&)> spoil;
  std::string field;             // the message starts with it
  std::vector<std::string> says;  // and contains these: the limit, the value
};

void PrintTo(const BadField& bad, std::ostream* out) { *out << bad.name; }

class BadFieldTest : public ::testing::TestWithParam<BadField> {
 protected:
  static void SetUpTestSuite() { server_ = new PuppetServer(); }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  static PuppetServer* server_;
};
PuppetServer* BadFieldTest::server_ = nullptr;

TEST_P(BadFieldTest, IsInvalidArgumentNamingFieldLimitAndValue) {
  v1::GenerateRequest request = SimpleRequest("bad");
  GetParam().spoil(request);
  const StreamResult streamed = ReadStream(server_->stub(), request);
  EXPECT_EQ(streamed.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << streamed.status.error_message();
  EXPECT_THAT(streamed.status.error_message(), StartsWith(absl::StrCat(GetParam().field, ": ")));
  for (const std::string& part : GetParam().says) EXPECT_THAT(streamed.status.error_message(), HasSubstr(part));

  grpc::ClientContext call;
  v1::GenerateResponse response;
  const grpc::Status unary = server_->stub().Generate(&call, request, &response);
  EXPECT_EQ(unary.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(unary.error_message(), streamed.status.error_message());
  EXPECT_EQ(server_->puppet().num_submitted(), 0);
}

using Request = v1::GenerateRequest;

INSTANTIATE_TEST_SUITE_P(
    Prompt, BadFieldTest,
    ::testing::Values(
        BadField{"absent", [](Request& r) { r.clear_prompt(); }, "prompt", {"text, token_ids or messages"}},
        BadField{"no_ids", [](Request& r) { r.mutable_token_ids()->clear_ids(); }, "prompt", {"at least 1"}},
        BadField{"negative_id", [](Request& r) { r.mutable_token_ids()->set_ids(1, -1); }, "token_ids.ids[1]", {"400", "-1"}},
        BadField{"id_out_of_range", [](Request& r) { r.mutable_token_ids()->set_ids(2, 400); }, "token_ids.ids[2]", {"400"}},
        BadField{"fills_the_context", [](Request& r) { for (int i = 0; i < kPuppetContext; ++i) r.mutable_token_ids()->add_ids(1); },
                 "prompt", {"4096", "4099"}},
        BadField{"text_too_long", [](Request& r) { r.set_text(std::string((64 << 10) + 1, 'a')); }, "text", {"65536", "65537"}},
        BadField{"too_many_ids", [](Request& r) { for (int i = 0; i <= 64 << 10; ++i) r.mutable_token_ids()->add_ids(1); },
                 "token_ids.ids", {"65536", "65540"}},
        BadField{"request_id_too_long", [](Request& r) { r.set_request_id(std::string(129, 'x')); }, "request_id", {"128", "129"}},
        BadField{"time_limit_zero", [](Request& r) { r.set_time_limit_ms(0); }, "time_limit_ms", {"> 0", "0"}},
        BadField{"time_limit_negative", [](Request& r) { r.set_time_limit_ms(-5); }, "time_limit_ms", {"> 0", "-5"}}),
    [](const auto& info) { return info.param.name; });

v1::ChatMessage& Message(Request& r, const char* role) {
  v1::ChatMessage& message = *r.mutable_messages()->add_messages();
  message.set_role(role);
  return message;
}

INSTANTIATE_TEST_SUITE_P(
    Messages, BadFieldTest,
    ::testing::Values(
        BadField{"none", [](Request& r) { r.mutable_messages(); }, "messages.messages", {"must not be empty"}},
        BadField{"too_many", [](Request& r) { for (int i = 0; i <= 4096; ++i) Message(r, "user"); }, "messages.messages", {"4096", "4097"}},
        BadField{"no_role", [](Request& r) { Message(r, "user"), Message(r, ""); }, "messages.messages[1].role", {"must not be empty"}},
        BadField{"content_too_long", [](Request& r) { Message(r, "user"), Message(r, "user").set_content(std::string((64 << 10) + 1, 'a')); },
                 "messages.messages[1].content", {"65536", "65537"}},
        BadField{"together_too_long", [](Request& r) { for (int i = 0; i < 3; ++i) Message(r, "user").set_content(std::string(32 << 10, 'a')); },
                 "messages.messages[1]", {"65536"}},
        BadField{"extra_role", [](Request& r) { (*Message(r, "user").mutable_extra()->mutable_fields())["role"].set_bool_value(true); },
                 "messages.messages[0].extra[\"role\"]", {"field of its own"}},
        BadField{"variables_too_long", [](Request& r) { Message(r, "user"); (*r.mutable_messages()->mutable_template_variables()->mutable_fields())["x"].set_string_value(std::string(64 << 10, 'a')); },
                 "messages.template_variables", {"65536"}},
        BadField{"variable_messages", [](Request& r) { Message(r, "user"); (*r.mutable_messages()->mutable_template_variables()->mutable_fields())["messages"]; },
                 "messages.template_variables[\"messages\"]", {"field of its own"}}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Sampling, BadFieldTest,
    ::testing::Values(
        BadField{"temperature", [](Request& r) { r.mutable_sampling()->set_temperature(-0.5f); }, "sampling.temperature", {"0", "-0.5"}},
        BadField{"temperature_nan", [](Request& r) { r.mutable_sampling()->set_temperature(kNan); }, "sampling.temperature", {"nan"}},
        BadField{"temperature_inf", [](Request& r) { r.mutable_sampling()->set_temperature(kInfinity); }, "sampling.temperature", {"inf"}},
        BadField{"top_k", [](Request& r) { r.mutable_sampling()->set_top_k(-1); }, "sampling.top_k", {"0", "-1"}},
        BadField{"top_p_zero", [](Request& r) { r.mutable_sampling()->set_top_p(0); }, "sampling.top_p", {"(0, 1]", "not 0"}},
        BadField{"top_p_large", [](Request& r) { r.mutable_sampling()->set_top_p(1.5f); }, "sampling.top_p", {"(0, 1]", "1.5"}},
        BadField{"top_p_nan", [](Request& r) { r.mutable_sampling()->set_top_p(kNan); }, "sampling.top_p", {"nan"}},
        BadField{"min_p_one", [](Request& r) { r.mutable_sampling()->set_min_p(1); }, "sampling.min_p", {"[0, 1)", "not 1"}},
        BadField{"min_p_negative", [](Request& r) { r.mutable_sampling()->set_min_p(-1); }, "sampling.min_p", {"[0, 1)", "-1"}},
        BadField{"repetition", [](Request& r) { r.mutable_sampling()->set_repetition_penalty(0); }, "sampling.repetition_penalty", {"> 0"}},
        BadField{"presence", [](Request& r) { r.mutable_sampling()->set_presence_penalty(2.5f); }, "sampling.presence_penalty", {"[-2, 2]", "2.5"}},
        BadField{"frequency", [](Request& r) { r.mutable_sampling()->set_frequency_penalty(-3); }, "sampling.frequency_penalty", {"[-2, 2]", "-3"}},
        BadField{"bias_value", [](Request& r) { (*r.mutable_sampling()->mutable_logit_bias())[3] = 101; }, "sampling.logit_bias[3]", {"[-100, 100]", "101"}},
        BadField{"bias_nan", [](Request& r) { (*r.mutable_sampling()->mutable_logit_bias())[3] = kNan; }, "sampling.logit_bias[3]", {"nan"}},
        BadField{"bias_id", [](Request& r) { (*r.mutable_sampling()->mutable_logit_bias())[400] = 1; }, "sampling.logit_bias", {"400"}},
        BadField{"bias_count", [](Request& r) { for (int i = 0; i < 1025; ++i) (*r.mutable_sampling()->mutable_logit_bias())[i] = 1; },
                 "sampling.logit_bias", {"1024", "1025"}}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Stopping, BadFieldTest,
    ::testing::Values(
        BadField{"max_zero", [](Request& r) { r.mutable_stopping()->set_max_new_tokens(0); }, "stopping.max_new_tokens", {">= 1", "0"}},
        BadField{"max_negative", [](Request& r) { r.mutable_stopping()->set_max_new_tokens(-7); }, "stopping.max_new_tokens", {">= 1", "-7"}},
        BadField{"max_beyond_context", [](Request& r) { r.mutable_stopping()->set_max_new_tokens(4094); }, "stopping.max_new_tokens", {"4093", "4094"}},
        BadField{"max_huge", [](Request& r) { r.mutable_stopping()->set_max_new_tokens(std::numeric_limits<int64_t>::max()); },
                 "stopping.max_new_tokens", {"4093", "9223372036854775807"}},
        BadField{"min_negative", [](Request& r) { r.mutable_stopping()->set_min_new_tokens(-1); }, "stopping.min_new_tokens", {"-1"}},
        BadField{"min_above_max", [](Request& r) { r.mutable_stopping()->set_min_new_tokens(17); }, "stopping.min_new_tokens", {"16", "17"}},
        BadField{"stop_id", [](Request& r) { r.mutable_stopping()->add_stop_token_ids(-2); }, "stopping.stop_token_ids[0]", {"400", "-2"}},
        BadField{"stop_ids", [](Request& r) { for (int i = 0; i < 257; ++i) r.mutable_stopping()->add_stop_token_ids(1); },
                 "stopping.stop_token_ids", {"256", "257"}},
        BadField{"stop_empty", [](Request& r) { r.mutable_stopping()->add_stop_strings("x"); r.mutable_stopping()->add_stop_strings(""); },
                 "stopping.stop_strings[1]", {"empty"}},
        BadField{"stop_long", [](Request& r) { r.mutable_stopping()->add_stop_strings(std::string(257, 'x')); },
                 "stopping.stop_strings[0]", {"256", "257"}},
        BadField{"stop_many", [](Request& r) { for (int i = 0; i < 17; ++i) r.mutable_stopping()->add_stop_strings("x"); },
                 "stopping.stop_strings", {"16", "17"}},
        BadField{"logprobs", [](Request& r) { r.mutable_response()->set_top_logprobs(21); }, "response.top_logprobs", {"20", "21"}},
        BadField{"logprobs_negative", [](Request& r) { r.mutable_response()->set_top_logprobs(-1); }, "response.top_logprobs", {"-1"}}),
    [](const auto& info) { return info.param.name; });

TEST(BadBytes, InvalidUtf8NamesTheFieldAndTheByte) {
  PuppetServer server;
  v1::GenerateRequest request = SimpleRequest("x");
  request.mutable_stopping()->add_stop_strings("good");
  request.mutable_stopping()->add_stop_strings("bad-");
  std::string bytes = request.SerializeAsString();
  bytes[bytes.find("bad-") + 3] = '\xff';
  for (const char* method : {"Generate", "GenerateStream"}) {
    const grpc::Status status = CallWithBytes(server.channel(), absl::StrCat("/ration.v1.Generation/", method), bytes).first;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), AllOf(StartsWith("stopping.stop_strings: "), HasSubstr("UTF-8"), HasSubstr("byte 3")));
  }
  const grpc::Status text = CallWithBytes(server.channel(), "/ration.v1.Generation/GenerateStream", "\x12\x02\xc3\x28").first;
  EXPECT_THAT(text.error_message(), AllOf(StartsWith("text: "), HasSubstr("byte 0")));
  const grpc::Status tokenize = CallWithBytes(server.channel(), "/ration.v1.Generation/Tokenize", "\x0a\x03ok\xff").first;
  EXPECT_EQ(tokenize.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(tokenize.error_message(), AllOf(StartsWith("text: "), HasSubstr("byte 2")));
}

// A google.protobuf.Value in a list in a value, and so on, deeper than protobuf parses.
TEST(BadBytes, VariablesNestedWithoutEndAreRefused) {
  PuppetServer server;
  std::string value;  // of google.protobuf.Value
  const auto wrap = [](char tag, const std::string& content) {
    std::string wrapped(1, tag);
    for (size_t length = content.size(); true; length >>= 7) {
      wrapped += static_cast<char>((length & 0x7F) | (length > 0x7F ? 0x80 : 0));
      if (length <= 0x7F) break;
    }
    return wrapped + content;
  };
  for (int i = 0; i < 10000; ++i) value = wrap('\x32', wrap('\x0a', value));  // list_value { values { ... } }
  const std::string variables = wrap('\x0a', "\x0a\x01x" + wrap('\x12', value));
  const std::string request = wrap('\x5a', wrap('\x1a', variables));
  const grpc::Status status = CallWithBytes(server.channel(), "/ration.v1.Generation/GenerateStream", request).first;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("not a ration.v1.GenerateRequest message"));
}

TEST(BadBytes, WhatIsNotAMessageIsSaidToBeNone) {
  PuppetServer server;
  for (const char* method : {"Generate", "GenerateStream", "Abort", "Tokenize", "Detokenize", "GetModelInfo"}) {
    const grpc::Status status =
        CallWithBytes(server.channel(), absl::StrCat("/ration.v1.Generation/", method), std::string(7, '\xff')).first;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_THAT(status.error_message(), AllOf(HasSubstr("7 bytes"), HasSubstr("ration.v1."))) << method;
  }
}

TEST(BadBytes, AMessageThatIsTooLargeIsResourceExhausted) {
  PuppetServer server;
  v1::GenerateRequest request = SimpleRequest("large");
  request.set_text(std::string(3 << 20, 'a'));
  const StreamResult result = ReadStream(server.stub(), request);
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << result.status.error_message();
  server.puppet().StartAutopilot("x");
  EXPECT_TRUE(ReadStream(server.stub(), SimpleRequest("next")).status.ok());
}

TEST(BadBytes, AnUnknownMethodIsUnimplemented) {
  PuppetServer server;
  EXPECT_EQ(CallWithBytes(server.channel(), "/ration.v1.Generation/Nothing", "").first.error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

// Flips, cuts and repeats bytes of good requests. Whatever comes of it, the server answers the next good one.
TEST(BadBytes, MutatedRequestsNeverHurtTheServer) {
  PuppetServer server;
  server.puppet().StartAutopilot("x");
  v1::GenerateRequest seed = SimpleRequest("seed", 3);
  seed.mutable_sampling()->set_temperature(0.7f);
  (*seed.mutable_sampling()->mutable_logit_bias())[3] = 1;
  seed.mutable_stopping()->add_stop_strings("the end");
  seed.mutable_response()->set_top_logprobs(2);
  const std::string good = seed.SerializeAsString();
  const char* const methods[] = {"Generate", "Abort", "Tokenize", "Detokenize", "GetModelInfo", "GenerateStream"};
  std::mt19937 random(20240607);
  for (int round = 0; round < 600; ++round) {
    std::string bytes = good;
    for (uint32_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
          break;
        case 2:
          bytes.resize(at + 1);
          break;
        default:
          bytes.insert(at, bytes.substr(at / 2, random() % 16));
      }
    }
    const std::string method = methods[round % std::size(methods)];
    v1::GenerateRequest still_good;
    const grpc::Status status = method == "GenerateStream" && still_good.ParseFromString(bytes)
                                    ? ReadStream(server.stub(), still_good).status
                                    : CallWithBytes(server.channel(), "/ration.v1.Generation/" + method, bytes).first;
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE) << "round " << round << ": " << status.error_message();
    EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << "round " << round;
  }
  const StreamResult result = ReadStream(server.stub(), SimpleRequest("after", 5));
  EXPECT_TRUE(result.status.ok());
  EXPECT_EQ(result.num_tokens(), 5);
  EXPECT_EQ(server.puppet().num_live(), 0);
}

}  // namespace
}  // namespace ration
