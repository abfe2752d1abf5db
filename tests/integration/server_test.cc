// The server around the calls: tokenizer and model information, health, reflection, metrics, drain.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/puppet_server.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kService[] = "ration.v1.Generation";

TEST(Tokenize, AppliesTheTemplateUnlessToldNotTo) {
  PuppetServer server;
  v1::TokenizeRequest request;
  request.set_text("he was");
  v1::TokenizeResponse with, without;
  grpc::ClientContext call1, call2;
  ASSERT_TRUE(server.stub().Tokenize(&call1, request, &with).ok());
  request.set_add_special_tokens(false);
  ASSERT_TRUE(server.stub().Tokenize(&call2, request, &without).ok());
  EXPECT_THAT(std::vector<int32_t>(with.ids().begin(), with.ids().end()),
              ::testing::ElementsAreArray(server.tokenizer().Encode("he was", true).value()));
  ASSERT_EQ(with.ids_size(), without.ids_size() + 1);
  EXPECT_EQ(with.tokens(0), "<s>");
  ASSERT_EQ(with.tokens_size(), with.ids_size());

  v1::DetokenizeRequest back;
  *back.mutable_ids() = with.ids();
  v1::DetokenizeResponse text;
  grpc::ClientContext call3;
  ASSERT_TRUE(server.stub().Detokenize(&call3, back, &text).ok());
  EXPECT_EQ(text.text(), "he was");
  back.set_skip_special_tokens(false);
  grpc::ClientContext call4;
  ASSERT_TRUE(server.stub().Detokenize(&call4, back, &text).ok());
  EXPECT_THAT(text.text(), StartsWith("<s>"));
}

TEST(Detokenize, RefusesIdsOutOfRange) {
  PuppetServer server;
  v1::DetokenizeRequest request;
  request.add_ids(4);
  request.add_ids(12345);
  v1::DetokenizeResponse response;
  grpc::ClientContext call;
  const grpc::Status status = server.stub().Detokenize(&call, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), StartsWith("ids[1]: "));
  EXPECT_THAT(status.error_message(), HasSubstr("12345"));
}

TEST(Tokenize, RefusesTextThatIsTooLong) {
  PuppetServer server;
  v1::TokenizeRequest request;
  request.set_text(std::string((64 << 10) + 1, 'a'));
  v1::TokenizeResponse response;
  grpc::ClientContext call;
  EXPECT_EQ(server.stub().Tokenize(&call, request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(AModelWithoutATokenizer, ServesIdsAndRefusesTextWithTheReason) {
  PuppetServer::Options options;
  options.with_tokenizer = false;
  PuppetServer server(options);
  server.puppet().StartAutopilot("");
  EXPECT_TRUE(ReadStream(server.stub(), SimpleRequest("ids")).status.ok());
  v1::GenerateRequest request = SimpleRequest("text");
  request.set_text("hello");
  const grpc::Status status = ReadStream(server.stub(), request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("no tokenizer.json"));

  v1::TokenizeRequest tokenize;
  v1::TokenizeResponse tokens;
  grpc::ClientContext call1, call2;
  EXPECT_EQ(server.stub().Tokenize(&call1, tokenize, &tokens).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  v1::DetokenizeRequest detokenize;
  v1::DetokenizeResponse text;
  EXPECT_EQ(server.stub().Detokenize(&call2, detokenize, &text).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(GetModelInfo, DescribesTheModelAndTheRatioInForce) {
  PuppetServer server;
  v1::GetModelInfoResponse info;
  grpc::ClientContext call;
  ASSERT_TRUE(server.stub().GetModelInfo(&call, v1::GetModelInfoRequest(), &info).ok());
  EXPECT_EQ(info.name(), "puppet");
  EXPECT_EQ(info.context_tokens(), kPuppetContext);
  EXPECT_TRUE(info.has_tokenizer());
  EXPECT_EQ(info.ratio_epoch(), 1);
}

TEST(AbortRequest, WithTooManyIdsIsRefused) {
  PuppetServer server;
  v1::AbortRequest request;
  for (int i = 0; i < 1025; ++i) request.add_request_ids("x");
  v1::AbortResponse response;
  grpc::ClientContext call;
  const grpc::Status status = server.stub().Abort(&call, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("1024"));
}

TEST(Health, IsServingForTheProcessAndTheService) {
  PuppetServer server;
  EXPECT_EQ(HealthOf(server.channel(), ""), "SERVING");
  EXPECT_EQ(HealthOf(server.channel(), kService), "SERVING");
  EXPECT_NE(HealthOf(server.channel(), "unknown.Service"), "SERVING");
}

TEST(Drain, TurnsReadinessOffRefusesNewRequestsAndLetsRunningOnesEnd) {
  PuppetServer server;
  grpc::ClientContext call;
  auto reader = server.stub().GenerateStream(&call, SimpleRequest("running"));
  ASSERT_TRUE(server.puppet().WaitForRequest("running"));
  bool all_ended = false;
  std::thread drain([&] { all_ended = server.server().Drain(absl::Seconds(60)); });
  while (HealthOf(server.channel(), kService) != "NOT_SERVING") absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(HealthOf(server.channel(), ""), "SERVING") << "the process is alive and well";
  // Readiness goes first; the door closes right behind it.
  grpc::Status refused;
  do {
    refused = ReadStream(server.stub(), [] {
                v1::GenerateRequest request = SimpleRequest("new");
                request.mutable_sampling()->set_top_p(7);  // so that it ends at once if it is let in
                return request;
              }()).status;
  } while (refused.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.error_message(), HasSubstr("draining"));

  server.puppet().EmitText("running", "still here");
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.text(), "still here");
  server.puppet().Finish("running", FinishInfo());
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(message.has_finish());
  EXPECT_TRUE(reader->Finish().ok());
  drain.join();
  EXPECT_TRUE(all_ended);
}

TEST(Drain, EndsWhatIsLeftAfterTheGracePeriodWithUnavailable) {
  PuppetServer server;
  grpc::ClientContext call;
  auto reader = server.stub().GenerateStream(&call, SimpleRequest("endless"));
  ASSERT_TRUE(server.puppet().WaitForRequest("endless"));
  server.puppet().EmitText("endless", "a start");
  EXPECT_FALSE(server.server().Drain(absl::Milliseconds(50)));
  EXPECT_EQ(server.puppet().EndOf("endless"), FinishReason::kShutdown);
  v1::GenerateResponse message;
  std::string text;
  while (reader->Read(&message)) text += message.text();
  EXPECT_EQ(text, "a start");
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(Drain, DoesNotWaitForClientsThatDoNotRead) {
  PuppetServer server;
  server.puppet().StartAutopilot(std::string(8 << 10, 'x'));
  grpc::ClientContext call;
  auto reader = server.stub().GenerateStream(&call, SimpleRequest("stuck", 1000));
  ASSERT_TRUE(server.puppet().WaitUntilPaused("stuck"));
  server.Destroy();
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
}

TEST(Start, RefusesAnAddressThatIsTaken) {
  PuppetServer first;
  ServerOptions options;
  options.listen = ListenAddress{"127.0.0.1", first.server().port()};
  options.metrics_listen.reset();
  options.control_listen.reset();
  ServedModel model;
  model.engine = std::make_unique<PuppetEngine>(std::make_shared<PuppetStrings>(), model.clock);
  const auto second = Server::Start(options, std::move(model));
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat(first.server().port())));
}

TEST(Reflection, ListsTheService) {
  PuppetServer server;
  grpc::GenericStub stub(server.channel());
  grpc::ClientContext call;
  grpc::CompletionQueue queue;
  auto stream = stub.PrepareCall(&call, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag;
  bool ok;
  stream->StartCall(reinterpret_cast<void*>(1));
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Slice slice(std::string("\x3a\x00", 2));  // ServerReflectionRequest { list_services: "" }
  stream->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), reinterpret_cast<void*>(2));
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer response;
  stream->Read(&response, reinterpret_cast<void*>(3));
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::Status status;
  stream->Finish(&status, reinterpret_cast<void*>(4));
  ASSERT_TRUE(queue.Next(&tag, &ok));
  grpc::Slice joined;
  ASSERT_TRUE(response.DumpToSingleSlice(&joined).ok());
  EXPECT_THAT(std::string(reinterpret_cast<const char*>(joined.begin()), joined.size()), HasSubstr(kService));
}

class MetricsEndpointTest : public ::testing::Test {
 protected:
  static PuppetServer::Options WithMetrics() {
    PuppetServer::Options options;
    options.with_metrics = true;
    return options;
  }
  PuppetServer server_{WithMetrics()};
};

TEST_F(MetricsEndpointTest, CountsRequestsAndRefusals) {
  server_.puppet().StartAutopilot("x");
  EXPECT_TRUE(ReadStream(server_.stub(), SimpleRequest("a", 5)).status.ok());
  server_.puppet().RejectWith(absl::ResourceExhaustedError("full"));
  ReadStream(server_.stub(), SimpleRequest("b", 5));
  std::string metrics;
  do {  // the snapshot is at most 100 ms old
    metrics = HttpGet(server_.server().metrics_port(), "/metrics");
  } while (metrics.find("ration_generated_tokens_total 5\n") == std::string::npos);
  EXPECT_THAT(metrics, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(metrics, HasSubstr("ration_requests_total{outcome=\"length\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("ration_kv_budget_bytes 1048576\n"));
  EXPECT_THAT(metrics, HasSubstr("ration_expert_ratio{expert=\"1\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("ration_model_info{name=\"puppet\",architecture=\"PuppetForCausalLM\",dtype=\"float32\",family=\"\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr("process_resident_memory_bytes "));
}

TEST_F(MetricsEndpointTest, AnswersOthersThanGetMetricsWithAnError) {
  const int port = server_.server().metrics_port();
  EXPECT_THAT(HttpExchange(port, "GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(HttpExchange(port, "POST /metrics HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(HttpExchange(port, "GET /metrics?x=1 HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(HttpExchange(port, std::string(64 << 10, 'x')), "");
  EXPECT_THAT(HttpGet(port, "/metrics"), StartsWith("HTTP/1.1 200 ")) << "it lives on";
}

TEST_F(MetricsEndpointTest, PassesPromtool) {
  if (access("/usr/bin/promtool", X_OK) != 0) GTEST_SKIP() << "SKIPPED: no /usr/bin/promtool (Debian package prometheus)";
  const std::string answer = HttpGet(server_.server().metrics_port(), "/metrics");
  const size_t body = answer.find("\r\n\r\n");
  ASSERT_NE(body, std::string::npos);
  const std::string file = absl::StrCat(::testing::TempDir(), "/metrics.txt");
  std::ofstream(file) << answer.substr(body + 4);
  FILE* promtool = popen(absl::StrCat("/usr/bin/promtool check metrics < ", file, " 2>&1").c_str(), "r");
  ASSERT_NE(promtool, nullptr);
  std::string output;
  char buffer[1024];
  while (fgets(buffer, sizeof(buffer), promtool) != nullptr) output += buffer;
  EXPECT_EQ(pclose(promtool), 0);
  EXPECT_EQ(output, "");
}

}  // namespace
}  // namespace ration
