// What a call leaves in the log, and the ids that let a client, a proxy and an operator speak of the same call.
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "server/logging.h"
#include "tests/integration/kept_lines.h"
#include "tests/integration/puppet_server.h"

namespace ration {
namespace {

using ::testing::MatchesRegex;

constexpr char kTraceParent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

class RequestLogTest : public ::testing::Test {
 protected:
  RequestLogTest() {
    ConfigureLogging(LogFormat::kJson, spdlog::level::info, lines_);
    server_ = std::make_unique<PuppetServer>();
  }
  static std::string Initial(const grpc::ClientContext& call, const char* name) {
    const auto it = call.GetServerInitialMetadata().find(name);
    return it == call.GetServerInitialMetadata().end() ? "none" : std::string(it->second.data(), it->second.size());
  }

  const std::shared_ptr<KeptLines> lines_ = std::make_shared<KeptLines>();
  std::unique_ptr<PuppetServer> server_;
};

TEST_F(RequestLogTest, AStreamLeavesOneLineAndItsIdsInTheMetadata) {
  server_->puppet().StartAutopilot("x");
  grpc::ClientContext call;
  call.AddMetadata("traceparent", kTraceParent);
  ASSERT_TRUE(ReadStream(server_->stub(), SimpleRequest("mine", 3), &call).status.ok());
  EXPECT_EQ(Initial(call, "x-request-id"), "mine");
  EXPECT_EQ(Initial(call, "traceparent"), kTraceParent);
  const LogFields line = lines_->WaitForRequest("mine");
  ASSERT_FALSE(line.is_null());
  EXPECT_EQ(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
  EXPECT_EQ(line["method"], "GenerateStream");
  EXPECT_EQ(line["status"], "OK");
  EXPECT_EQ(line["prompt_tokens"], 3);
  EXPECT_EQ(line["generated_tokens"], 3);
  EXPECT_THAT(line["peer"].get<std::string>(), MatchesRegex("ipv4:127.0.0.1:[0-9]+"));
  EXPECT_EQ(lines_->num_requests(), 1);
}

TEST_F(RequestLogTest, AUnaryCallGetsAnIdIfItHasNone) {
  server_->puppet().StartAutopilot("x");
  grpc::ClientContext call;
  v1::GenerateResponse response;
  ASSERT_TRUE(server_->stub().Generate(&call, SimpleRequest("", 2), &response).ok());
  EXPECT_THAT(response.request_id(), MatchesRegex("[0-9a-f]+"));
  EXPECT_EQ(Initial(call, "x-request-id"), response.request_id());
  EXPECT_EQ(Initial(call, "traceparent"), "none");
  const LogFields line = lines_->WaitForRequest(response.request_id());
  ASSERT_FALSE(line.is_null());
  EXPECT_EQ(line["method"], "Generate");
  EXPECT_FALSE(line.contains("trace_id"));
}

TEST_F(RequestLogTest, ARefusedCallHasAnIdTooAndItsLineSaysWhy) {
  v1::GenerateRequest request = SimpleRequest("bad");
  request.mutable_sampling()->set_temperature(-1);
  grpc::ClientContext call;
  call.AddMetadata("traceparent", kTraceParent);
  EXPECT_EQ(ReadStream(server_->stub(), request, &call).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Initial(call, "x-request-id"), "bad");
  LogFields line = lines_->WaitForRequest("bad");
  ASSERT_FALSE(line.is_null());
  EXPECT_EQ(line["status"], "INVALID_ARGUMENT");
  EXPECT_EQ(line["outcome"], "refused");
  EXPECT_EQ(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");

  server_->puppet().RejectWith(absl::ResourceExhaustedError("too large"));  // by the engine, later
  grpc::ClientContext second;
  v1::GenerateResponse response;
  EXPECT_FALSE(server_->stub().Generate(&second, SimpleRequest("large"), &response).ok());
  EXPECT_EQ(Initial(second, "x-request-id"), "large");
  line = lines_->WaitForRequest("large");
  ASSERT_FALSE(line.is_null());
  EXPECT_EQ(line["status"], "RESOURCE_EXHAUSTED");
  EXPECT_EQ(line["outcome"], "refused");
}

TEST_F(RequestLogTest, IgnoresTracesThatAreNotValidOrNotOne) {
  server_->puppet().StartAutopilot("x");
  for (const std::vector<std::string>& traces :
       {std::vector<std::string>{"00-junk"}, {std::string(10000 / 4, 'a')}, {kTraceParent, kTraceParent}}) {
    grpc::ClientContext call;
    for (const std::string& trace : traces) call.AddMetadata("traceparent", trace);
    v1::GenerateResponse response;
    ASSERT_TRUE(server_->stub().Generate(&call, SimpleRequest("", 1), &response).ok());
    EXPECT_EQ(Initial(call, "traceparent"), "none");
    EXPECT_FALSE(lines_->WaitForRequest(response.request_id()).contains("trace_id"));
  }
}

TEST_F(RequestLogTest, AnIdThatMetadataCannotCarryIsServedAndLogged) {
  server_->puppet().StartAutopilot("x");
  const std::string id = "line\nbreak \xc3\xa9";
  grpc::ClientContext call;
  ASSERT_TRUE(ReadStream(server_->stub(), SimpleRequest(id, 1), &call).status.ok());
  EXPECT_EQ(Initial(call, "x-request-id"), "none");
  EXPECT_FALSE(lines_->WaitForRequest(id).is_null());
}

TEST_F(RequestLogTest, ACancelledStreamSaysWhatItGotBeforeItEnded) {
  grpc::ClientContext call;
  auto reader = server_->stub().GenerateStream(&call, SimpleRequest("gone"));
  ASSERT_TRUE(server_->puppet().WaitForRequest("gone").has_value());
  server_->puppet().EmitText("gone", "x");
  v1::GenerateResponse message;
  ASSERT_TRUE(reader->Read(&message));
  call.TryCancel();
  reader->Finish();
  const LogFields line = lines_->WaitForRequest("gone");
  ASSERT_FALSE(line.is_null());
  EXPECT_EQ(line["status"], "CANCELLED");
  EXPECT_EQ(line["outcome"], "aborted");
}

}  // namespace
}  // namespace ration
