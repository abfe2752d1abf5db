// rationctl's commands for operators against a fake Control service: what they send, what they print, and how they end.
#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "client/commands.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/google/rpc/status.pb.h"
#include "tests/client/fake_control_service.h"

namespace ration {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ControlCommandsTest : public ::testing::Test {
 protected:
  ControlCommandsTest() {
    service_.state = testing::BusyState();
    console_.in = &in_;
    console_.out = &out_;
    console_.err = &err_;
  }
  int Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin() + 1, "--control=" + service_.target());
    out_.str("");
    err_.str("");
    return RunRationctl(arguments, console_, &cancellation_);
  }
  json Out() { return json::parse(out_.str()); }

  testing::FakeControlService service_;
  std::istringstream in_;
  std::ostringstream out_, err_;
  Console console_;
  Cancellation cancellation_;
};

TEST_F(ControlCommandsTest, StateShowsTextForPeopleAndEveryFieldForScripts) {
  ASSERT_EQ(Run({"state"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("768 MiB of 1.00 GiB used (75.0 %)"));
  EXPECT_THAT(out_.str(), HasSubstr("0.500 requested, 0.400 wanted, 0.600 of what is cached"));
  EXPECT_THAT(out_.str(), HasSubstr("epoch 12, up 1 h 2 min"));
  EXPECT_THAT(out_.str(), Not(HasSubstr("tenant")));
  v1::TenantState& tenant = *service_.state.add_tenants();
  tenant.set_tenant("search\n");
  tenant.set_weight(2);
  tenant.set_requests_running(3);
  tenant.set_requests_waiting(4);
  tenant.set_reserved_bytes(512 << 10);
  tenant.set_prompt_tokens(50);
  tenant.set_generated_tokens(60);
  tenant.set_requests_rejected(7);
  ASSERT_EQ(Run({"state"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("search\\n: weight 2, 3 running, 4 waiting, 512 KiB reserved, 50 + 60 tokens, 7 refused\n"));
  tenant.set_max_kv_bytes(1 << 20);
  ASSERT_EQ(Run({"state"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("512 KiB of 1.00 MiB reserved"));
  ASSERT_EQ(Run({"state", "--json"}), kExitOk);
  const json state = Out();
  EXPECT_EQ(state["tenants"][0]["max_kv_bytes"], 1 << 20);
  EXPECT_EQ(state["budget_policy"], "governor");
  EXPECT_EQ(state["mode"], "auto");
  EXPECT_EQ(state["used_bytes"], int64_t{3} << 28);
  EXPECT_EQ(state["draining"], false);
  EXPECT_EQ(state["experts"][2]["group_size"], 4);
  EXPECT_FALSE(state.contains("target_budget_bytes"));
  EXPECT_EQ(state["policy"]["floor"], 0.25);
  EXPECT_FALSE(state["policy"].contains("ceiling"));
}

TEST_F(ControlCommandsTest, RatioShowsSetsAndGoesBackToAuto) {
  ASSERT_EQ(Run({"ratio"}), kExitOk);
  EXPECT_EQ(out_.str(), "0.3:0.1:0.6  (KV fraction 0.5, auto, epoch 12)\n");
  service_.ratio_answer.set_epoch(13);
  service_.ratio_answer.set_kv_fraction(0.25);
  ASSERT_EQ(Run({"ratio", "0:0:1", "--expected_epoch=12"}), kExitOk);
  EXPECT_EQ(service_.ratio_request.ratio(), "0:0:1");
  EXPECT_EQ(service_.ratio_request.expected_epoch(), 12);
  EXPECT_EQ(out_.str(), "0:0:1 in force as epoch 13: KV fraction 0.25, manual mode\n");
  ASSERT_EQ(Run({"ratio", "0:0:1", "--json"}), kExitOk);
  EXPECT_FALSE(service_.ratio_request.has_expected_epoch());
  EXPECT_EQ(Out(), json({{"epoch", 13}, {"kv_fraction", 0.25}}));
  ASSERT_EQ(Run({"ratio", "auto"}), kExitOk);
  EXPECT_EQ(service_.policy_request.policy().mode(), v1::MODE_AUTO);
  EXPECT_EQ(Run({"ratio", "1", "2"}), kExitUsage);
}

TEST_F(ControlCommandsTest, BudgetTakesUnitsAndTellsWhatItCost) {
  service_.budget_answer.set_budget_bytes(int64_t{512} << 20);
  service_.budget_answer.set_epoch(13);
  service_.budget_answer.set_seconds(0.012);
  service_.budget_answer.set_reclaimed_bytes(int64_t{256} << 20);
  service_.budget_answer.set_regrouped_tokens(900);
  service_.budget_answer.set_requests_shed(2);
  ASSERT_EQ(Run({"budget", "512MiB", "--shed"}), kExitOk);
  EXPECT_EQ(service_.budget_request.budget_bytes(), int64_t{512} << 20);
  EXPECT_TRUE(service_.budget_request.shed());
  EXPECT_EQ(out_.str(), "512 MiB in force as epoch 13 after 12.0 ms: 256 MiB reclaimed, 900 tokens regrouped, 2 requests ended\n");
  for (const auto& [text, bytes] : std::vector<std::pair<std::string, int64_t>>{
           {"4096", 4096}, {"1.5GiB", 1610612736}, {"2k", 2048}, {"1 TiB", int64_t{1} << 40}, {"77B", 77}}) {
    ASSERT_EQ(Run({"budget", text}), kExitOk) << text;
    EXPECT_EQ(service_.budget_request.budget_bytes(), bytes) << text;
    EXPECT_FALSE(service_.budget_request.shed());
  }
  for (const char* text : {"", "much", "1e9", "12XB", "nan", "0x10", "99999999TiB", "1.2.3"}) {
    EXPECT_EQ(Run({"budget", text}), kExitUsage) << text;
    EXPECT_THAT(err_.str(), HasSubstr("BYTES must be a size")) << text;
  }
  ASSERT_EQ(Run({"budget"}), kExitOk);
  EXPECT_EQ(out_.str(), "1073741824 bytes (1.00 GiB), 75.0 % used, epoch 12\n");
}

TEST_F(ControlCommandsTest, ABudgetTooSmallNamesTheSmallestThatWouldDo) {
  google::rpc::Status details;
  v1::BudgetFloor floor;
  floor.set_smallest_budget_bytes(123456);
  details.add_details()->PackFrom(floor);
  service_.status = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "floors need more", details.SerializeAsString());
  EXPECT_EQ(Run({"budget", "1MiB", "--json"}), kExitRpcError);
  EXPECT_EQ(Out()["error"]["code"], "FAILED_PRECONDITION");
  EXPECT_EQ(Out()["error"]["smallest_budget_bytes"], 123456);
  EXPECT_THAT(err_.str(), HasSubstr("FAILED_PRECONDITION: floors need more"));
}

TEST_F(ControlCommandsTest, PolicySendsOnlyWhatIsGiven) {
  ASSERT_EQ(Run({"policy", "--floor=0.5", "--ladder=1:0:0", "--ladder=0:0:1", "--max_queued_tokens=77", "--mode=manual"}), kExitOk);
  v1::Policy sent = service_.policy_request.policy();
  EXPECT_EQ(sent.floor(), 0.5);
  EXPECT_EQ(sent.mode(), v1::MODE_MANUAL);
  EXPECT_THAT(sent.ladder(), ElementsAre("1:0:0", "0:0:1"));
  EXPECT_EQ(sent.max_queued_tokens(), 77);
  EXPECT_FALSE(sent.has_ceiling() || sent.has_rise_per_second() || sent.has_dead_band() || sent.has_headroom() ||
               sent.has_max_queued_requests() || sent.has_admission_overcommit());
  ASSERT_EQ(Run({"policy", "--ceiling=0.9", "--rise_per_second=1", "--dead_band=0.1", "--headroom=0.2", "--max_queued_requests=5",
                 "--admission_overcommit=1.5", "--expected_epoch=3"}),
            kExitOk);
  sent = service_.policy_request.policy();
  EXPECT_EQ(sent.ceiling(), 0.9);
  EXPECT_EQ(sent.rise_per_second(), 1);
  EXPECT_EQ(sent.dead_band(), 0.1);
  EXPECT_EQ(sent.headroom(), 0.2);
  EXPECT_EQ(sent.max_queued_requests(), 5);
  EXPECT_EQ(sent.admission_overcommit(), 1.5);
  EXPECT_EQ(service_.policy_request.expected_epoch(), 3);
  EXPECT_EQ(Run({"policy", "--mode=sometimes"}), kExitUsage);
  service_.policy_request.Clear();
  ASSERT_EQ(Run({"policy"}), kExitOk);  // shows
  EXPECT_EQ(service_.policy_request.ByteSizeLong(), 0u);
  EXPECT_THAT(out_.str(), HasSubstr("floor        0.25\n"));
}

TEST_F(ControlCommandsTest, DrainTellsByItsExitStatusWhetherRequestsStillRun) {
  service_.drain_answer.set_idle(true);
  EXPECT_EQ(Run({"drain", "--timeout=1500ms"}), kExitOk);
  EXPECT_EQ(service_.drain_request.timeout_ms(), 1500);
  service_.drain_answer.set_idle(false);
  EXPECT_EQ(Run({"drain"}), kExitRpcError);
  EXPECT_FALSE(service_.drain_request.has_timeout_ms());
}

TEST_F(ControlCommandsTest, WatchPrintsALineForEachStateWhereThereIsNoTerminal) {
  ASSERT_EQ(Run({"watch", "--interval=20ms", "--count=2"}), kExitOk);
  EXPECT_EQ(service_.watch_request.interval_ms(), 20);
  EXPECT_THAT(out_.str(), StartsWith("3725.0 s  used 768 MiB of 1.00 GiB (75.0 %)"));
  EXPECT_THAT(out_.str(), HasSubstr("\n3726.0 s  "));
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b")));
  const std::string text = out_.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST_F(ControlCommandsTest, WatchLeavesTheTerminalAsItWasAndTheLastFrameOnIt) {
  setenv("TERM", "xterm", 1);
  console_.out_is_terminal = console_.colors = true;
  service_.hang = true;
  std::thread interrupt([this] {
    service_.watching.WaitForNotification();
    cancellation_.Cancel();
  });
  Run({"watch"});
  interrupt.join();
  const std::string out = out_.str();
  if (out.empty()) return;  // the cancel may overtake the first state
  EXPECT_THAT(out, StartsWith("\x1b[?1049h\x1b[?25l"));
  const size_t end = out.find("\x1b[?25h\x1b[?1049l");
  ASSERT_NE(end, std::string::npos);
  EXPECT_THAT(out.substr(end), HasSubstr("768 MiB of 1.00 GiB"));
}

TEST_F(ControlCommandsTest, AServerThatCannotBeReachedIsNamedWithTheFlagForIt) {
  out_.str("");
  EXPECT_EQ(RunRationctl({"state", "--control=127.0.0.1:1"}, console_, &cancellation_), kExitRpcError);
  EXPECT_THAT(err_.str(), HasSubstr("--control=HOST:PORT"));
}

}  // namespace
}  // namespace ration
