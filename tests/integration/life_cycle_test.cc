// Readiness, liveness and drain as load balancers and orchestrators see them.
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/last_resort.h"
#include "tests/integration/puppet_server.h"
#include "tests/testing/fake_clock.h"

namespace ration {
namespace {

using ::testing::HasSubstr;

constexpr char kGeneration[] = "ration.v1.Generation";

// Waits until it is so, ten seconds at most.
bool Becomes(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

TEST(DrainDelay, ReadinessGoesFirstAndRequestsAreStillServed) {
  PuppetServer::Options options;
  options.drain_delay = absl::Hours(1);
  PuppetServer server(options);
  server.puppet().StartAutopilot("x");
  EXPECT_EQ(HealthOf(server.channel(), kGeneration), "SERVING");

  v1::DrainRequest request;
  request.set_timeout_ms(1);
  v1::DrainResponse response;
  grpc::ClientContext drain;
  ASSERT_TRUE(server.control().Drain(&drain, request, &response).ok());
  EXPECT_FALSE(response.idle()) << "nothing runs, but more may come";
  EXPECT_EQ(HealthOf(server.channel(), kGeneration), "NOT_SERVING");
  EXPECT_EQ(HealthOf(server.channel(), ""), "SERVING");
  v1::ServerState state;
  grpc::ClientContext get;
  ASSERT_TRUE(server.control().GetState(&get, v1::GetStateRequest(), &state).ok());
  EXPECT_TRUE(state.draining());
  EXPECT_TRUE(ReadStream(server.stub(), SimpleRequest("late", 3)).status.ok());
  server.Destroy();  // does not wait for the hour
}

TEST(DrainDelay, ThenRequestsAreRefusedAndRunningOnesEnd) {
  PuppetServer::Options options;
  options.drain_delay = absl::Milliseconds(20);
  PuppetServer server(options);
  StreamResult running;
  std::thread client([&] { running = ReadStream(server.stub(), SimpleRequest("running")); });
  ASSERT_TRUE(server.puppet().WaitForRequest("running").has_value());
  bool all_ended = false;
  std::thread drain([&] { all_ended = server.server().Drain(absl::Seconds(60)); });

  // Every refusal comes after readiness went, whenever it comes; what is accepted before runs to its end like the first one.
  grpc::Status refused;
  int serial = 0;
  EXPECT_TRUE(Becomes([&] {
    grpc::ClientContext call;
    call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(200)));
    refused = ReadStream(server.stub(), SimpleRequest(absl::StrCat("try", ++serial)), &call).status;
    return refused.error_code() == grpc::StatusCode::UNAVAILABLE;
  }));
  EXPECT_THAT(refused.error_message(), HasSubstr("draining"));
  EXPECT_EQ(HealthOf(server.channel(), kGeneration), "NOT_SERVING");
  server.puppet().EmitText("running", "end");
  FinishInfo finish;
  finish.reason = FinishReason::kStop;
  server.puppet().Finish("running", finish);
  client.join();
  drain.join();
  EXPECT_TRUE(running.status.ok()) << running.status.error_message();
  EXPECT_EQ(running.text(), "end");
  EXPECT_TRUE(all_ended);
}

// What main does on a signal, in a process of its own.
[[noreturn]] void DrainAndExit(bool hang, bool with_request) {
  PuppetServer server;
  grpc::ClientContext call;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader;
  if (with_request) {
    reader = server.stub().GenerateStream(&call, SimpleRequest("running"));
    server.puppet().WaitForRequest("running");
  }
  if (hang) server.puppet().HoldSteps();
  {
    const LastResort last_resort(hang ? absl::Milliseconds(100) : absl::Hours(1));
    server.server().Drain(absl::ZeroDuration());
    server.Destroy();
  }
  std::_Exit(0);
}

TEST(LastResortDeathTest, EndsTheProcessWhenTheEngineNeverStepsAgain) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const bool with_request : {false, true}) {
    EXPECT_EXIT(DrainAndExit(/*hang=*/true, with_request), ::testing::ExitedWithCode(LastResort::kExitStatus), "");
    EXPECT_EXIT(DrainAndExit(/*hang=*/false, with_request), ::testing::ExitedWithCode(0), "");
  }
}

class StallTest : public ::testing::Test {
 protected:
  StallTest() : server_(Options()) {}
  ~StallTest() override { server_.puppet().ReleaseSteps(); }
  PuppetServer::Options Options() {
    PuppetServer::Options options;
    options.clock = &clock_;
    options.with_metrics = true;
    options.with_health_port = true;
    return options;
  }
  std::string Metric(const std::string& name) {
    const std::string text = HttpGet(server_.server().metrics_port(), "/metrics");
    const size_t at = text.find(absl::StrCat("\n", name, " "));
    return at == std::string::npos ? "none" : text.substr(at + name.size() + 2, text.find('\n', at + 1) - at - name.size() - 2);
  }

  ration::testing::FakeClock clock_;
  PuppetServer server_;
};

TEST_F(StallTest, AHangingEngineIsNeitherAliveNorReadyUntilItStepsAgain) {
  const auto health = server_.NewChannel(server_.server().health_port());
  const std::shared_ptr<grpc::Channel> generation_ports[] = {server_.channel(), health};
  EXPECT_EQ(Metric("ration_engine_stalled"), "0");
  ASSERT_TRUE(server_.puppet().HoldSteps());
  StreamResult result;
  std::thread client([&] { result = ReadStream(server_.stub(), SimpleRequest("stuck", 2)); });
  clock_.Advance(absl::Seconds(61));  // the default is 60 s

  for (const auto& channel : generation_ports) {
    EXPECT_TRUE(Becomes([&] { return HealthOf(channel, "") == "NOT_SERVING"; }));
    EXPECT_EQ(HealthOf(channel, kGeneration), "NOT_SERVING");
  }
  EXPECT_EQ(HealthOf(server_.control_channel(), ""), "NOT_SERVING");
  EXPECT_EQ(HealthOf(server_.control_channel(), "ration.v1.Control"), "SERVING") << "to look into it";
  EXPECT_EQ(Metric("ration_engine_stalled"), "1");
  EXPECT_EQ(Metric("ration_engine_step_age_seconds"), "61");

  server_.puppet().StartAutopilot("x");
  server_.puppet().ReleaseSteps();
  client.join();
  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  for (const auto& channel : generation_ports) {
    EXPECT_TRUE(Becomes([&] { return HealthOf(channel, "") == "SERVING"; }));
    EXPECT_EQ(HealthOf(channel, kGeneration), "SERVING");
  }
  EXPECT_EQ(Metric("ration_engine_stalled"), "0");
}

TEST_F(StallTest, ADrainIsNotUndoneByAnEngineThatStepsAgain) {
  ASSERT_TRUE(server_.puppet().HoldSteps());
  StreamResult result;
  std::thread client([&] { result = ReadStream(server_.stub(), SimpleRequest("stuck", 2)); });
  clock_.Advance(absl::Seconds(61));
  EXPECT_TRUE(Becomes([&] { return HealthOf(server_.channel(), "") == "NOT_SERVING"; }));
  v1::DrainRequest request;
  request.set_timeout_ms(1);
  v1::DrainResponse response;
  grpc::ClientContext drain;
  ASSERT_TRUE(server_.control().Drain(&drain, request, &response).ok());
  server_.puppet().StartAutopilot("x");
  server_.puppet().ReleaseSteps();
  client.join();
  EXPECT_TRUE(Becomes([&] { return HealthOf(server_.channel(), "") == "SERVING"; }));
  EXPECT_EQ(HealthOf(server_.channel(), kGeneration), "NOT_SERVING");
}

TEST(HealthPort, TellsHealthAndNothingElse) {
  PuppetServer::Options options;
  options.with_health_port = true;
  PuppetServer server(options);
  const auto channel = server.NewChannel(server.server().health_port());
  EXPECT_EQ(HealthOf(channel, ""), "SERVING");
  EXPECT_EQ(HealthOf(channel, kGeneration), "SERVING");
  EXPECT_THAT(HealthOf(channel, "ration.v1.Control"), ::testing::Not(::testing::AnyOf("SERVING", "NOT_SERVING")));
  for (const char* method :
       {"/ration.v1.Generation/GetModelInfo", "/ration.v1.Generation/Generate", "/ration.v1.Control/GetState",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    EXPECT_EQ(CallWithBytes(channel, method, "").first.error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
  }
  EXPECT_EQ(CallWithBytes(channel, "/grpc.health.v1.Health/Check", std::string(2000, 'x')).first.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_NE(CallWithBytes(server.channel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "").first.error_code(),
            grpc::StatusCode::UNIMPLEMENTED)
      << "the other ports keep theirs";
}

TEST(HealthPort, AnswersThroughADrain) {
  PuppetServer::Options options;
  options.with_health_port = true;
  PuppetServer server(options);
  const auto channel = server.NewChannel(server.server().health_port());
  StreamResult running;
  std::thread client([&] { running = ReadStream(server.stub(), SimpleRequest("running")); });
  ASSERT_TRUE(server.puppet().WaitForRequest("running").has_value());
  std::thread drain([&] { server.server().Drain(absl::Seconds(60)); });
  EXPECT_TRUE(Becomes([&] { return HealthOf(channel, kGeneration) == "NOT_SERVING"; }));
  EXPECT_EQ(HealthOf(channel, ""), "SERVING");
  server.puppet().Finish("running", FinishInfo());
  client.join();
  drain.join();
}

}  // namespace
}  // namespace ration
