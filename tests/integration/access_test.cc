// Who gets in: every method of both services with and without a token and a role, tenants that do not reach each other's requests, and
// an access file that changes under a running server.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/integration/access_fixture.h"
#include "tests/testing/captured_log.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using grpc::StatusCode;

StatusCode GetModelInfo(PuppetServer& server, const std::string& token) {
  v1::GetModelInfoResponse response;
  return server.stub().GetModelInfo(CallWith(token).get(), v1::GetModelInfoRequest(), &response).error_code();
}

grpc::Status Abort(PuppetServer& server, const std::string& token, const std::string& request_id) {
  v1::AbortRequest request;
  request.add_request_ids(request_id);
  v1::AbortResponse response;
  return server.stub().Abort(CallWith(token).get(), request, &response);
}

// The names of every method of both services, as they stand in the path of a call.
std::vector<std::string> AllMethods() {
  std::vector<std::string> methods;
  for (const google::protobuf::FileDescriptor* file : {v1::GenerateRequest::descriptor()->file(), v1::ServerState::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        methods.push_back(absl::StrCat("/", file->service(s)->full_name(), "/", file->service(s)->method(m)->name()));
      }
    }
  }
  return methods;
}

bool IsControl(const std::string& method) { return method.find(".Control/") != std::string::npos; }

TEST(Access, EveryMethodNeedsATokenWithTheRightRole) {
  AccessServer access;
  PuppetServer& server = *access.server;
  const std::vector<std::string> methods = AllMethods();
  ASSERT_GE(methods.size(), 12u);
  for (const std::string& method : methods) {
    const auto& channel = IsControl(method) ? server.control_channel() : server.channel();
    const std::string wrong_role = IsControl(method) ? kChatToken : kOperatorToken;
    EXPECT_EQ(CallWithBytes(channel, method, "").first.error_code(), StatusCode::UNAUTHENTICATED) << method;
    EXPECT_EQ(CallWithBytes(channel, method, "", "not-a-token-of-anybody").first.error_code(), StatusCode::UNAUTHENTICATED) << method;
    const grpc::Status status = CallWithBytes(channel, method, "", wrong_role).first;
    if (method == "/ration.v1.Generation/Abort") {
      EXPECT_TRUE(status.ok()) << "operators may end any request";
    } else {
      EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED) << method;
    }
    EXPECT_THAT(status.error_message(), Not(HasSubstr(wrong_role)));
  }
}

TEST(Access, TheRightTokenOpensAndNamesTheTenant) {
  AccessServer access;
  PuppetServer& server = *access.server;
  server.puppet().StartAutopilot("x");
  EXPECT_EQ(GetModelInfo(server, kChatToken), StatusCode::OK);
  EXPECT_TRUE(ReadStream(server.stub(), SimpleRequest("mine"), CallWith(kChatToken).get()).status.ok());
  const auto request = server.puppet().WaitForRequest("chat/mine");
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->tenant, "chat");
  v1::ServerState state;
  EXPECT_TRUE(server.control().GetState(CallWith(kOperatorToken).get(), v1::GetStateRequest(), &state).ok());
}

TEST(Access, RefusedCallsAreCountedOnBothPorts) {
  PuppetServer::Options options;
  options.with_metrics = true;
  AccessServer access(options);
  PuppetServer& server = *access.server;
  const auto has = [&](const std::string& sample) {
    return absl::StrContains(HttpGet(server.server().metrics_port(), "/metrics"), absl::StrCat("\nration_calls_refused_total", sample, "\n"));
  };
  EXPECT_EQ(GetModelInfo(server, kChatToken), StatusCode::OK);
  EXPECT_TRUE(has("{reason=\"unauthenticated\"} 0"));
  EXPECT_TRUE(has("{reason=\"permission_denied\"} 0"));
  v1::ServerState state;
  for (const char* token : {"", kNewToken}) {
    GetModelInfo(server, token);
    ReadStream(server.stub(), SimpleRequest("refused"), CallWith(token).get());
    server.control().GetState(CallWith(token).get(), v1::GetStateRequest(), &state);
  }
  GetModelInfo(server, kOperatorToken);
  server.control().GetState(CallWith(kChatToken).get(), v1::GetStateRequest(), &state);
  EXPECT_TRUE(has("{reason=\"unauthenticated\"} 6"));
  EXPECT_TRUE(has("{reason=\"permission_denied\"} 2"));
}

TEST(Access, ResponsesCarryTheClientsOwnRequestId) {
  AccessServer access;
  access.server->puppet().StartAutopilot("x");
  const StreamResult result = ReadStream(access.server->stub(), SimpleRequest("mine"), CallWith(kChatToken).get());
  ASSERT_FALSE(result.messages.empty());
  EXPECT_EQ(result.messages[0].request_id(), "mine");
}

TEST(Access, HealthAndReflectionNeedNoToken) {
  AccessServer access;
  EXPECT_EQ(HealthOf(access.server->channel(), ""), "SERVING");
  EXPECT_EQ(HealthOf(access.server->channel(), "ration.v1.Generation"), "SERVING");
  EXPECT_EQ(HealthOf(access.server->control_channel(), ""), "SERVING");
}

TEST(Access, WithoutAnAccessFileCallsBelongToNobodyAndMayDoEverything) {
  PuppetServer server;
  server.puppet().StartAutopilot("x");
  EXPECT_TRUE(ReadStream(server.stub(), SimpleRequest("free")).status.ok());
  EXPECT_EQ(server.puppet().WaitForRequest("free")->tenant, "");
  v1::ServerState state;
  EXPECT_TRUE(server.control().GetState(CallWith("").get(), v1::GetStateRequest(), &state).ok());
}

// A stream of one tenant that runs until somebody ends it.
struct RunningStream {
  RunningStream(PuppetServer& server, const std::string& token, const std::string& tenant, const std::string& id)
      : call(CallWith(token)), reader(server.stub().GenerateStream(call.get(), SimpleRequest(id))) {
    EXPECT_TRUE(server.puppet().WaitForRequest(tenant + "/" + id));
  }
  grpc::Status End() {
    v1::GenerateResponse message;
    while (reader->Read(&message)) {
    }
    return reader->Finish();
  }
  std::unique_ptr<grpc::ClientContext> call;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
};

TEST(Tenants, NeverReachEachOthersRequests) {
  AccessServer access;
  PuppetServer& server = *access.server;
  RunningStream chat(server, kChatToken, "chat", "same");
  RunningStream batch(server, kBatchToken, "batch", "same");  // the same id is no conflict
  EXPECT_TRUE(Abort(server, kBatchToken, "same").ok());
  EXPECT_TRUE(Abort(server, kBatchToken, "chat/same").ok());
  EXPECT_EQ(batch.End().error_code(), StatusCode::CANCELLED);
  // A refused or cancelled call with the id of another tenant's request does not end that either.
  RunningStream again(server, kBatchToken, "batch", "same");
  again.call->TryCancel();
  EXPECT_EQ(again.End().error_code(), StatusCode::CANCELLED);
  EXPECT_TRUE(server.puppet().WaitUntilGone("batch/same"));
  server.puppet().EmitText("chat/same", "still here");
  v1::GenerateResponse message;
  ASSERT_TRUE(chat.reader->Read(&message));
  EXPECT_EQ(message.text(), "still here");

  EXPECT_TRUE(Abort(server, kChatToken, "same").ok());
  EXPECT_EQ(chat.End().error_code(), StatusCode::CANCELLED);
}

TEST(Tenants, OperatorsMayEndAnyRequest) {
  AccessServer access;
  PuppetServer& server = *access.server;
  RunningStream chat(server, kChatToken, "chat", "same");
  RunningStream batch(server, kBatchToken, "batch", "same");
  RunningStream other(server, kBatchToken, "batch", "other");
  EXPECT_TRUE(Abort(server, kOperatorToken, "same").ok());
  EXPECT_EQ(chat.End().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(batch.End().error_code(), StatusCode::CANCELLED);
  server.puppet().EmitText("batch/other", "still here");
  v1::GenerateResponse message;
  EXPECT_TRUE(other.reader->Read(&message));
  server.Destroy();
  other.End();
}

TEST(Tenants, AskForNoMorePriorityThanTheyMay) {
  AccessServer access;
  PuppetServer& server = *access.server;
  server.puppet().StartAutopilot("x");
  access.directory.Write("access.textproto", AccessEntry("chat", kNewToken, "ROLE_GENERATE", "max_priority: 5") +
                                                 AccessEntry("batch", kBatchToken, "ROLE_GENERATE", "max_priority: -10") +
                                                 AccessEntry("operators", kOperatorToken, "ROLE_GENERATE"));
  while (GetModelInfo(server, kNewToken) != StatusCode::OK) absl::SleepFor(absl::Milliseconds(1));
  const auto generate = [&](const std::string& id, const char* token, std::optional<int32_t> priority) {
    v1::GenerateRequest request = SimpleRequest(id, 1);
    if (priority.has_value()) request.set_priority(*priority);
    return ReadStream(server.stub(), request, CallWith(token).get()).status;
  };
  const auto priority_of = [&](const std::string& engine_id) { return server.puppet().WaitForRequest(engine_id)->priority; };

  EXPECT_TRUE(generate("at", kNewToken, 5).ok());
  EXPECT_EQ(priority_of("chat/at"), 5);
  const grpc::Status above = generate("above", kNewToken, 6);
  EXPECT_EQ(above.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(above.error_message(), "priority: must be at most 5 for chat, not 6");
  EXPECT_TRUE(generate("none", kNewToken, std::nullopt).ok());
  EXPECT_EQ(priority_of("chat/none"), 0);

  EXPECT_TRUE(generate("none", kBatchToken, std::nullopt).ok()) << "clients need not know of their limit";
  EXPECT_EQ(priority_of("batch/none"), -10);
  EXPECT_EQ(generate("zero", kBatchToken, 0).error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(generate("low", kBatchToken, -50).ok());
  EXPECT_EQ(priority_of("batch/low"), -50);

  EXPECT_TRUE(generate("high", kOperatorToken, 100).ok()) << "no limit where none is set";
  EXPECT_EQ(generate("too_high", kOperatorToken, 101).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST(AccessFile, WhenItChangesOldTokensCloseNewOnesOpenAndStreamsGoOn) {
  AccessServer access;
  PuppetServer& server = *access.server;
  RunningStream stream(server, kChatToken, "chat", "long");
  EXPECT_EQ(GetModelInfo(server, kNewToken), StatusCode::UNAUTHENTICATED);
  access.WriteAccess(kNewToken);
  while (GetModelInfo(server, kNewToken) != StatusCode::OK) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(GetModelInfo(server, kChatToken), StatusCode::UNAUTHENTICATED);
  server.puppet().EmitText("chat/long", "on and on");
  v1::GenerateResponse message;
  ASSERT_TRUE(stream.reader->Read(&message));
  EXPECT_EQ(message.text(), "on and on");
  server.puppet().Finish("chat/long", FinishInfo());
  EXPECT_TRUE(stream.End().ok());
}

TEST(AccessFile, SecretsReachNoLogLineAndABadFileChangesNothing) {
  CapturedLog log;
  {
    AccessServer access;
    PuppetServer& server = *access.server;
    EXPECT_EQ(GetModelInfo(server, kNewToken), StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(GetModelInfo(server, kOperatorToken), StatusCode::PERMISSION_DENIED);
    access.directory.Write("access.textproto", absl::StrCat("clients { name: 'chat' token: ", kNewToken, " }"));
    log.WaitFor("what was read before stays in force");
    EXPECT_EQ(GetModelInfo(server, kChatToken), StatusCode::OK);
    access.WriteAccess(kNewToken);
    log.WaitFor("changed and is in force now");
    EXPECT_EQ(GetModelInfo(server, kNewToken), StatusCode::OK);
  }
  EXPECT_THAT(log.text(), HasSubstr("access.textproto: line 1, column"));
  for (const char* secret : {kChatToken, kBatchToken, kOperatorToken, kNewToken, "Bearer"}) {
    EXPECT_THAT(log.text(), Not(HasSubstr(secret)));
  }
}

TEST(AccessFile, MustBeThereAndGoodWhenTheServerStarts) {
  TemporaryDirectory directory;
  const std::pair<std::string, std::string> cases[] = {
      {directory.Path("none"), "No such file or directory"},
      {directory.Write("empty", ""), "clients: must be 1 to 1024 entries, not 0"}};
  for (const auto& [path, why] : cases) {
    ServerOptions options;
    options.listen = ListenAddress{"127.0.0.1", 0};
    options.metrics_listen.reset();
    options.control_listen.reset();
    options.security.access_file = path;
    ServedModel model;
    model.engine = std::make_unique<PuppetEngine>(std::make_shared<PuppetStrings>(), model.clock);
    const absl::Status status = Server::Start(options, std::move(model)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("--access_file: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    EXPECT_THAT(std::string(status.message()), HasSubstr(why));
  }
}

}  // namespace
}  // namespace ration
