// The audit trail: who changed what, and who tried.
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "server/logging.h"
#include "tests/integration/access_fixture.h"
#include "tests/integration/kept_lines.h"
#include "tests/integration/puppet_server.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class ControlLogTest : public ::testing::Test {
 protected:
  ControlLogTest() {
    ConfigureLogging(LogFormat::kJson, spdlog::level::info, lines_);
    access_ = std::make_unique<AccessServer>();
  }
  v1::Control::Stub& control() { return access_->server->control(); }
  grpc::Status SetRatio(const std::string& ratio, const std::string& token, int64_t expected_epoch = 0) {
    v1::SetRatioRequest request;
    request.set_ratio(ratio);
    if (expected_epoch > 0) request.set_expected_epoch(expected_epoch);
    v1::SetRatioResponse response;
    return control().SetRatio(CallWith(token).get(), request, &response);
  }
  grpc::Status SetBudget(int64_t bytes) {
    v1::SetBudgetRequest request;
    request.set_budget_bytes(bytes);
    v1::SetBudgetResponse response;
    return control().SetBudget(CallWith(kOperatorToken).get(), request, &response);
  }
  // The lines of this method once there are `count`. Nothing in them may be a token.
  std::vector<LogFields> LinesOf(const std::string& method, size_t count) {
    std::vector<LogFields> lines = lines_->WaitFor("method", method, count);
    EXPECT_EQ(lines.size(), count);
    lines.resize(count);
    for (const LogFields& line : lines) {
      EXPECT_EQ(line["message"], "control");
      EXPECT_THAT(line.value("peer", ""), MatchesRegex("ipv4:127.0.0.1:[0-9]+"));
      for (const char* token : {kChatToken, kOperatorToken, kNewToken}) EXPECT_THAT(line.dump(), Not(HasSubstr(token)));
    }
    return lines;
  }

  const std::shared_ptr<KeptLines> lines_ = std::make_shared<KeptLines>();
  std::unique_ptr<AccessServer> access_;
};

TEST_F(ControlLogTest, AChangeLeavesALineWithWhoWhatAndItsEpoch) {
  ASSERT_TRUE(SetRatio("1:1:2", kOperatorToken, 1).ok());
  const LogFields line = LinesOf("SetRatio", 1)[0];
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["tenant"], "operators");
  EXPECT_EQ(line["asked"], "ratio: \"1:1:2\" expected_epoch: 1");
  EXPECT_EQ(line["status"], "OK");
  EXPECT_EQ(line["epoch"], 2);
  EXPECT_FALSE(line.contains("error"));
}

TEST_F(ControlLogTest, EveryMethodThatChangesSomethingLeavesOneAndNoOther) {
  v1::ServerState state;
  ASSERT_TRUE(control().GetState(CallWith(kOperatorToken).get(), v1::GetStateRequest(), &state).ok());
  ASSERT_TRUE(SetBudget(512 << 10).ok());
  v1::SetPolicyRequest policy;
  policy.mutable_policy()->set_floor(0.5);
  v1::SetPolicyResponse policy_response;
  ASSERT_TRUE(control().SetPolicy(CallWith(kOperatorToken).get(), policy, &policy_response).ok());
  v1::DrainResponse drain_response;
  ASSERT_TRUE(control().Drain(CallWith(kOperatorToken).get(), v1::DrainRequest(), &drain_response).ok());

  EXPECT_EQ(LinesOf("SetBudget", 1)[0]["asked"], "budget_bytes: 524288");
  const LogFields set_policy = LinesOf("SetPolicy", 1)[0];
  EXPECT_EQ(set_policy["asked"], "policy { floor: 0.5 }");
  EXPECT_EQ(set_policy["epoch"], policy_response.epoch());
  const LogFields drain = LinesOf("Drain", 1)[0];
  EXPECT_EQ(drain["status"], "OK");
  EXPECT_FALSE(drain.contains("asked"));
  access_->server->Destroy();  // writes what is left
  EXPECT_EQ(lines_->WaitFor("message", "control", 3).size(), 3u);
}

TEST_F(ControlLogTest, ARefusedChangeLeavesALineThatSaysWhy) {
  EXPECT_FALSE(SetRatio("1:2", kOperatorToken).ok());     // by the conversion
  EXPECT_FALSE(SetRatio("1:1:2", kOperatorToken, 9).ok());  // by the engine
  const std::vector<LogFields> lines = LinesOf("SetRatio", 2);
  for (const LogFields& line : lines) {
    EXPECT_EQ(line["level"], "warning");
    EXPECT_EQ(line["tenant"], "operators");
    EXPECT_FALSE(line.contains("epoch"));
  }
  EXPECT_EQ(lines[0]["status"], "INVALID_ARGUMENT");
  EXPECT_THAT(lines[0].value("error", ""), HasSubstr("1:2"));
  EXPECT_EQ(lines[1]["status"], "ABORTED");
  EXPECT_EQ(lines[1]["asked"], "ratio: \"1:1:2\" expected_epoch: 9");
}

TEST_F(ControlLogTest, CallersWhoMayNotAreNamedAsFarAsKnownAndNotReadAnyFurther) {
  EXPECT_FALSE(SetRatio("1:1:2", "").ok());
  EXPECT_FALSE(SetRatio("1:1:2", kNewToken).ok());
  EXPECT_FALSE(SetRatio("1:1:2", kChatToken).ok());
  const std::vector<LogFields> lines = LinesOf("SetRatio", 3);
  for (const LogFields& line : lines) EXPECT_FALSE(line.contains("asked"));
  EXPECT_EQ(lines[0]["status"], "UNAUTHENTICATED");
  EXPECT_EQ(lines[1]["status"], "UNAUTHENTICATED");
  EXPECT_FALSE(lines[1].contains("tenant"));
  EXPECT_EQ(lines[2]["status"], "PERMISSION_DENIED");
  EXPECT_EQ(lines[2]["tenant"], "chat");
}

TEST_F(ControlLogTest, AChangeThatItsCallerDidNotWaitForIsLoggedAsWhatItBecame) {
  access_->server->puppet().HoldBudgets();
  const std::unique_ptr<grpc::ClientContext> call = CallWith(kOperatorToken);
  v1::SetBudgetRequest request;
  request.set_budget_bytes(512 << 10);
  v1::SetBudgetResponse response;
  std::thread client([&] { EXPECT_FALSE(control().SetBudget(call.get(), request, &response).ok()); });
  ASSERT_TRUE(access_->server->puppet().WaitForBudget().has_value());
  call->TryCancel();
  client.join();
  access_->server->puppet().CompleteBudget();
  EXPECT_EQ(LinesOf("SetBudget", 1)[0]["status"], "OK");
}

TEST_F(ControlLogTest, ALongRequestIsCutOffAndStaysOnItsLine) {
  EXPECT_FALSE(SetRatio(std::string(50000, '\n'), kOperatorToken).ok());
  const LogFields line = LinesOf("SetRatio", 1)[0];
  EXPECT_LT(line.dump().size(), 3000u);
}

}  // namespace
}  // namespace ration
