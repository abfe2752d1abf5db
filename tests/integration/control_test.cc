// The control API over real gRPC, around a puppet engine whose epochs and policies are a real BudgetController's.
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/clock.h"
#include "engine/budget/control.h"
#include "proto/control.grpc.pb.h"
#include "proto/google/rpc/status.pb.h"
#include "tests/integration/puppet_server.h"

namespace ration {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ControlTest : public ::testing::Test {
 protected:
  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (v1::Control::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext call;
    call.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
    return (server_.control().*method)(&call, request, response);
  }
  v1::ServerState State() {
    v1::ServerState state;
    const grpc::Status status = Call(&v1::Control::Stub::GetState, v1::GetStateRequest(), &state);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return state;
  }
  grpc::Status SetRatio(const std::string& ratio, std::optional<int64_t> epoch = {}, v1::SetRatioResponse* response = nullptr) {
    v1::SetRatioRequest request;
    request.set_ratio(ratio);
    if (epoch.has_value()) request.set_expected_epoch(*epoch);
    v1::SetRatioResponse ignored;
    return Call(&v1::Control::Stub::SetRatio, request, response == nullptr ? &ignored : response);
  }
  grpc::Status SetBudget(int64_t bytes, std::optional<int64_t> epoch = {}, v1::SetBudgetResponse* response = nullptr) {
    v1::SetBudgetRequest request;
    request.set_budget_bytes(bytes);
    if (epoch.has_value()) request.set_expected_epoch(*epoch);
    v1::SetBudgetResponse ignored;
    return Call(&v1::Control::Stub::SetBudget, request, response == nullptr ? &ignored : response);
  }
  grpc::Status SetPolicy(const std::function<void(v1::Policy*)>& edit, std::optional<int64_t> epoch = {},
                         v1::SetPolicyResponse* response = nullptr) {
    v1::SetPolicyRequest request;
    edit(request.mutable_policy());
    if (epoch.has_value()) request.set_expected_epoch(*epoch);
    v1::SetPolicyResponse ignored;
    return Call(&v1::Control::Stub::SetPolicy, request, response == nullptr ? &ignored : response);
  }

  PuppetServer server_;
};

TEST_F(ControlTest, GetStateTellsMemoryRatioAndPolicy) {
  server_.puppet().ChangeStats([](EngineStats* stats) {
    stats->kv_used_bytes = 256 << 10;
    stats->kv_token_layers = {20, 8, 4};
    stats->requests_finished[static_cast<size_t>(FinishReason::kStop)] = 5;
    stats->requests_finished[static_cast<size_t>(FinishReason::kShed)] = 2;
    stats->rejections[static_cast<size_t>(RejectReason::kTooLarge)] = 7;
    stats->regrouped_token_layers[0][2] = 6;
    stats->tenants.resize(2);
    stats->tenants[0].tenant = "other";
    stats->tenants[1].tenant = "search";
    stats->tenants[1].weight = 2;
    stats->tenants[1].max_kv_bytes = 4096;
    stats->tenants[1].requests_running = 1;
    stats->tenants[1].requests_waiting = 2;
    stats->tenants[1].kv_reserved_bytes = 1024;
    stats->tenants[1].prompt_tokens = 10;
    stats->tenants[1].generated_tokens = 20;
    stats->tenants[1].rejections = {1, 0, 2};
  });
  v1::ServerState state = State();
  for (int i = 0; i < 1000 && state.used_bytes() == 0; ++i) state = State();
  EXPECT_EQ(state.epoch(), 1);
  EXPECT_EQ(state.mode(), v1::MODE_AUTO);
  EXPECT_EQ(state.budget_policy(), v1::BUDGET_POLICY_GOVERNOR);
  EXPECT_EQ(state.budget_bytes(), 1 << 20);
  EXPECT_DOUBLE_EQ(state.pressure(), 0.25);
  EXPECT_FALSE(state.has_target_budget_bytes());
  EXPECT_GT(state.resident_bytes(), 0);
  ASSERT_EQ(state.experts_size(), 3);
  EXPECT_EQ(state.experts(2).group_size(), 4);
  EXPECT_DOUBLE_EQ(state.experts(1).cached_tokens(), 4);
  EXPECT_EQ(state.experts(1).cached_bytes(), 4 * 512);
  EXPECT_EQ(state.requests_finished(), 5);
  EXPECT_EQ(state.requests_failed(), 2);
  EXPECT_EQ(state.requests_rejected(), 7);
  EXPECT_EQ(state.regrouped_tokens(), 3);
  ASSERT_EQ(state.tenants_size(), 2);
  EXPECT_FALSE(state.tenants(0).has_max_kv_bytes());
  EXPECT_EQ(state.tenants(1).ShortDebugString(),
            "tenant: \"search\" weight: 2 requests_running: 1 requests_waiting: 2 reserved_bytes: 1024 max_kv_bytes: 4096 "
            "prompt_tokens: 10 generated_tokens: 20 requests_rejected: 3");
  EXPECT_TRUE(state.policy().has_headroom());
  EXPECT_THAT(state.policy().ladder(), ElementsAre("0:0:1", "0.3:0.1:0.6", "1:0:0"));
}

TEST_F(ControlTest, SetRatioGoesToManualModeAndEachChangeIsAnEpoch) {
  v1::SetRatioResponse response;
  ASSERT_TRUE(SetRatio("3:1:6", 1, &response).ok());
  EXPECT_EQ(response.epoch(), 2);
  EXPECT_DOUBLE_EQ(response.kv_fraction(), 0.5);
  v1::ServerState state = State();
  EXPECT_EQ(state.epoch(), 2);
  EXPECT_EQ(state.mode(), v1::MODE_MANUAL);
  EXPECT_DOUBLE_EQ(state.experts(0).ratio(), 0.3);
  EXPECT_DOUBLE_EQ(state.kv_fraction(), 0.5);
  ASSERT_TRUE(SetPolicy([](v1::Policy* policy) { policy->set_mode(v1::MODE_AUTO); }).ok());
  EXPECT_EQ(State().mode(), v1::MODE_AUTO);
  EXPECT_EQ(State().epoch(), 3);
}

TEST_F(ControlTest, AnEpochThatIsNotInForceAbortsEveryKindOfChangeAndChangesNothing) {
  const std::string before = State().policy().SerializeAsString();
  for (const grpc::Status& status : {SetRatio("1:1:1", 7), SetBudget(1 << 19, 7),
                                     SetPolicy([](v1::Policy* policy) { policy->set_headroom(0.1); }, 7)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
    EXPECT_THAT(status.error_message(), HasSubstr("expected_epoch: 7"));
  }
  const v1::ServerState after = State();
  EXPECT_EQ(after.epoch(), 1);
  EXPECT_EQ(after.budget_bytes(), 1 << 20);
  EXPECT_EQ(after.policy().SerializeAsString(), before);
}

TEST_F(ControlTest, SetBudgetReturnsWhenTheEngineIsDoneAndTheTargetIsShownUntilThen) {
  server_.puppet().HoldBudgets();
  v1::SetBudgetResponse response;
  grpc::Status status;
  std::thread caller([&] { status = SetBudget((512 << 10) + 100, {}, &response); });
  const std::optional<BudgetChange> change = server_.puppet().WaitForBudget();
  ASSERT_TRUE(change.has_value());
  EXPECT_EQ(change->budget_bytes, (512 << 10) + 100);
  v1::ServerState state = State();
  for (int i = 0; i < 1000 && !state.has_target_budget_bytes(); ++i) state = State();
  EXPECT_EQ(state.target_budget_bytes(), 512 << 10);
  EXPECT_EQ(state.budget_bytes(), 1 << 20);
  server_.puppet().CompleteBudget();
  caller.join();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.epoch(), 2);
  EXPECT_EQ(response.budget_bytes(), 512 << 10);
  EXPECT_EQ(response.seconds(), 0.25);
  EXPECT_EQ(response.reclaimed_bytes(), 2048);
  EXPECT_EQ(response.regrouped_tokens(), 7);  // 14 pairs in two layers
  EXPECT_EQ(response.requests_shed(), 1);
  EXPECT_EQ(response.requests_preempted(), 3);
  EXPECT_EQ(State().budget_bytes(), 512 << 10);
  EXPECT_FALSE(State().has_target_budget_bytes());
}

TEST_F(ControlTest, ABudgetBelowWhatWasPromisedNamesTheSmallestThatWouldDo) {
  server_.puppet().HoldBudgets();
  server_.puppet().CompleteBudget(WithSmallestBudget(absl::FailedPreconditionError("too small"), 123456));
  const grpc::Status status = SetBudget(2048);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  EXPECT_EQ(details.code(), static_cast<int>(grpc::StatusCode::FAILED_PRECONDITION));
  ASSERT_EQ(details.details_size(), 1);
  v1::BudgetFloor floor;
  ASSERT_TRUE(details.details(0).UnpackTo(&floor));
  EXPECT_EQ(floor.smallest_budget_bytes(), 123456);
}

TEST_F(ControlTest, ALaterBudgetEndsTheEarlierCallAndACallerThatGoesLeavesTheChangeInForce) {
  server_.puppet().HoldBudgets();
  grpc::Status first;
  std::thread caller([&] { first = SetBudget(64 << 10); });
  ASSERT_TRUE(server_.puppet().WaitForBudget().has_value());
  grpc::ClientContext impatient;
  impatient.set_deadline(absl::ToChronoTime(absl::Now() + absl::Milliseconds(300)));
  v1::SetBudgetRequest request;
  request.set_budget_bytes(128 << 10);
  v1::SetBudgetResponse response;
  const grpc::Status second = server_.control().SetBudget(&impatient, request, &response);
  caller.join();
  EXPECT_EQ(first.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(second.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  server_.puppet().CompleteBudget();
  for (int i = 0; i < 10000 && State().budget_bytes() != 128 << 10; ++i) {
  }
  EXPECT_EQ(State().budget_bytes(), 128 << 10);
}

TEST_F(ControlTest, SetPolicyChangesWhatIsSetAndReturnsAllOfIt) {
  v1::SetPolicyResponse response;
  const grpc::Status status = SetPolicy(
      [](v1::Policy* policy) {
        policy->set_floor(0.3);
        policy->set_ceiling(0.9);
        policy->set_headroom(0.1);
        policy->set_max_queued_tokens(5000);
        for (const char* knot : {"1:0:0", "1:1:1", "0:0:1"}) policy->add_ladder(knot);
      },
      1, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.epoch(), 2);
  EXPECT_EQ(response.policy().floor(), 0.3);
  EXPECT_EQ(response.policy().ceiling(), 0.9);
  EXPECT_EQ(response.policy().headroom(), 0.1);
  EXPECT_EQ(response.policy().max_queued_tokens(), 5000);
  EXPECT_EQ(response.policy().ladder_size(), 3);
  EXPECT_EQ(response.policy().rise_per_second(), 0.25);
  EXPECT_EQ(response.policy().max_queued_requests(), 1024);
  EXPECT_EQ(State().policy().SerializeAsString(), response.policy().SerializeAsString());
}

TEST_F(ControlTest, EveryBadFieldIsNamedWithItsValueAndChangesNothing) {
  const auto expect_bad = [](const grpc::Status& status, const std::string& field, const std::string& value) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << field;
    EXPECT_THAT(status.error_message(), ::testing::StartsWith(field)) << value;
    EXPECT_THAT(status.error_message(), HasSubstr(value)) << field;
  };
  for (const char* ratio : {"", "1:1", "1:2:3:4", "a:b:c", "-1:1:1", "0:0:0", "nan:1:1", "1:1:inf"}) {
    expect_bad(SetRatio(ratio), "ratio: ", ratio);
  }
  expect_bad(SetRatio(std::string(300, '1')), "ratio: ", "300");
  for (int64_t bytes : {int64_t{0}, int64_t{-5}, int64_t{1023}}) expect_bad(SetBudget(bytes), "budget_bytes: ", absl::StrCat(bytes));
  const struct {
    std::function<void(v1::Policy*)> edit;
    const char* field;
    const char* value;
  } kPolicies[] = {
      {[](v1::Policy* p) { p->set_mode(v1::MODE_UNSPECIFIED); }, "mode: ", "0"},
      {[](v1::Policy* p) { p->set_mode(static_cast<v1::Mode>(77)); }, "mode: ", "77"},
      {[](v1::Policy* p) { p->set_floor(0.1); }, "floor: ", "0.1"},
      {[](v1::Policy* p) { p->set_floor(1.5); }, "floor: ", "1.5"},
      {[](v1::Policy* p) { p->set_floor(std::nan("")); }, "floor: ", "nan"},
      {[](v1::Policy* p) { p->set_ceiling(0.2); }, "ceiling: ", "0.2"},
      {[](v1::Policy* p) { p->set_ceiling(1.01); }, "ceiling: ", "1.01"},
      {[](v1::Policy* p) { p->set_rise_per_second(0); }, "rise_per_second: ", "0"},
      {[](v1::Policy* p) { p->set_dead_band(-1); }, "dead_band: ", "-1"},
      {[](v1::Policy* p) { p->set_headroom(0.6); }, "headroom: ", "0.6"},
      {[](v1::Policy* p) { p->set_max_queued_requests(0); }, "max_queued_requests: ", "0"},
      {[](v1::Policy* p) { p->set_max_queued_tokens(-3); }, "max_queued_tokens: ", "-3"},
      {[](v1::Policy* p) { p->set_admission_overcommit(0.5); }, "admission_overcommit: ", "0.5"},
      {[](v1::Policy* p) { p->add_ladder("1:x:3"); }, "ladder[0]: ", "1:x:3"},
      {[](v1::Policy* p) { p->add_ladder("1:0:0"), p->add_ladder("1:0:0"); }, "ladder: ", "1:0:0"},
      {[](v1::Policy* p) { for (int i = 0; i < 65; ++i) p->add_ladder("1:0:0"); }, "ladder: ", "65"},
  };
  for (const auto& bad : kPolicies) expect_bad(SetPolicy(bad.edit), bad.field, bad.value);
  v1::DrainRequest drain;
  drain.set_timeout_ms(0);
  v1::DrainResponse drained;
  expect_bad(Call(&v1::Control::Stub::Drain, drain, &drained), "timeout_ms: ", "0");
  for (int64_t interval : {0, 19, 60001}) {
    v1::WatchStateRequest watch;
    watch.set_interval_ms(interval);
    grpc::ClientContext call;
    const auto reader = server_.control().WatchState(&call, watch);
    v1::ServerState state;
    EXPECT_FALSE(reader->Read(&state));
    expect_bad(reader->Finish(), "interval_ms: ", absl::StrCat(interval));
  }
  for (const char* method : {"GetState", "SetRatio", "SetBudget", "SetPolicy", "Drain"}) {
    const auto [status, bytes] = CallWithBytes(server_.control_channel(), absl::StrCat("/ration.v1.Control/", method), "\xff\xff");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
  }
  EXPECT_EQ(State().epoch(), 1);
  EXPECT_FALSE(State().draining());
}

TEST_F(ControlTest, AWatchSendsTheStateAtOnceAndAgainAndShowsChanges) {
  grpc::ClientContext call;
  v1::WatchStateRequest request;
  request.set_interval_ms(20);
  const auto reader = server_.control().WatchState(&call, request);
  v1::ServerState state;
  ASSERT_TRUE(reader->Read(&state));
  EXPECT_EQ(state.epoch(), 1);
  ASSERT_TRUE(SetRatio("0:0:1").ok());
  for (int i = 0; i < 500 && state.epoch() == 1; ++i) ASSERT_TRUE(reader->Read(&state));
  EXPECT_EQ(state.epoch(), 2);
  EXPECT_DOUBLE_EQ(state.kv_fraction(), 0.25);
  call.TryCancel();
  while (reader->Read(&state)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ControlTest, AServerThatEndsEndsItsWatches) {
  std::vector<std::unique_ptr<grpc::ClientContext>> calls;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::ServerState>>> readers;
  v1::WatchStateRequest request;
  request.set_interval_ms(60000);  // long: only the end can end it
  v1::ServerState state;
  for (int i = 0; i < 8; ++i) {
    calls.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(server_.control().WatchState(calls.back().get(), request));
    ASSERT_TRUE(readers.back()->Read(&state));
  }
  EXPECT_TRUE(server_.server().Drain(absl::Seconds(10)));
  for (auto& reader : readers) {
    EXPECT_FALSE(reader->Read(&state));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

TEST_F(ControlTest, DrainRefusesNewRequestsWaitsForTheRunningAndLeavesTheProcess) {
  grpc::Status generated;
  std::thread client([&] { generated = ReadStream(server_.stub(), SimpleRequest("running")).status; });
  ASSERT_TRUE(server_.puppet().WaitForRequest("running").has_value());
  v1::DrainRequest request;
  request.set_timeout_ms(50);
  v1::DrainResponse response;
  response.set_idle(true);
  ASSERT_TRUE(Call(&v1::Control::Stub::Drain, request, &response).ok());
  EXPECT_FALSE(response.idle());
  EXPECT_EQ(HealthOf(server_.channel(), "ration.v1.Generation"), "NOT_SERVING");
  EXPECT_EQ(HealthOf(server_.control_channel(), "ration.v1.Control"), "SERVING");
  EXPECT_TRUE(State().draining());
  EXPECT_EQ(ReadStream(server_.stub(), SimpleRequest("late")).status.error_code(), grpc::StatusCode::UNAVAILABLE);
  server_.puppet().Finish("running", FinishInfo());
  request.clear_timeout_ms();
  ASSERT_TRUE(Call(&v1::Control::Stub::Drain, request, &response).ok());
  EXPECT_TRUE(response.idle());
  client.join();
  EXPECT_TRUE(generated.ok());
  EXPECT_TRUE(State().draining());
}

TEST_F(ControlTest, PromptTokensAreCountedBeforeTheyAreTokenised) {
  ASSERT_TRUE(SetPolicy([](v1::Policy* policy) { policy->set_max_queued_tokens(100); }).ok());
  server_.puppet().ChangeStats([](EngineStats* stats) { stats->waiting_tokens = 90; });
  for (int i = 0; i < 10000 && State().waiting_tokens() == 0; ++i) {
  }
  v1::GenerateRequest request;
  for (int i = 0; i < 11; ++i) request.mutable_token_ids()->add_ids(1);
  const grpc::Status ids = ReadStream(server_.stub(), request).status;
  EXPECT_EQ(ids.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(ids.error_message(), HasSubstr("this request has 11, the limit is 100"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(ids.error_details()));
  EXPECT_TRUE(details.details(0).Is<google::rpc::RetryInfo>());
  request.set_text(std::string(11, 'a'));  // a token a byte, as long as nothing was learned
  EXPECT_THAT(ReadStream(server_.stub(), request).status.error_message(), HasSubstr("has about 11"));
  EXPECT_EQ(server_.puppet().num_submitted(), 0);
  for (int i = 0; i < 10000 && State().requests_rejected() < 2; ++i) {
  }
  EXPECT_EQ(server_.server().Stats().rejections[static_cast<size_t>(RejectReason::kQueueTokens)], 2);
  server_.puppet().StartAutopilot("x");
  request.mutable_token_ids()->clear_ids();
  for (int i = 0; i < 10; ++i) request.mutable_token_ids()->add_ids(1);
  request.mutable_stopping()->set_max_new_tokens(1);
  EXPECT_TRUE(ReadStream(server_.stub(), request).status.ok());
  // Places are given back, at the end of the step whose pieces the client may have read already: this one fits again.
  bool fits = false;
  for (int i = 0; i < 10000 && !fits; ++i) fits = ReadStream(server_.stub(), request).status.ok();
  EXPECT_TRUE(fits);
}

TEST_F(ControlTest, PriorityFloorAndQueueTimeReachTheEngineAndTheirRangesAreChecked) {
  v1::GenerateRequest request = SimpleRequest("vip");
  request.set_priority(-7);
  request.set_kv_floor(0.5);
  request.set_queue_time_limit_ms(60000);
  std::thread client([&] { ReadStream(server_.stub(), request); });
  const std::optional<GenerationRequest> seen = server_.puppet().WaitForRequest("vip");
  server_.puppet().Finish("vip", FinishInfo());
  client.join();
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->priority, -7);
  EXPECT_EQ(seen->kv_floor, 0.5);
  EXPECT_LT(seen->queue_deadline, Clock::Real()->Now() + absl::Seconds(61));
  EXPECT_GT(seen->queue_deadline, Clock::Real()->Now() + absl::Seconds(10));
  const struct {
    std::function<void(v1::GenerateRequest*)> edit;
    const char* message;
  } kBad[] = {
      {[](v1::GenerateRequest* r) { r->set_priority(101); }, "priority: must be in [-100, 100], not 101"},
      {[](v1::GenerateRequest* r) { r->set_priority(-101); }, "priority: must be in [-100, 100], not -101"},
      {[](v1::GenerateRequest* r) { r->set_kv_floor(0.2); }, "kv_floor: must be in [1/4, 1]"},
      {[](v1::GenerateRequest* r) { r->set_kv_floor(1.1); }, "kv_floor: must be in [1/4, 1]"},
      {[](v1::GenerateRequest* r) { r->set_kv_floor(std::nan("")); }, "kv_floor: must be in [1/4, 1]"},
      {[](v1::GenerateRequest* r) { r->set_queue_time_limit_ms(0); }, "queue_time_limit_ms: must be > 0, not 0"},
  };
  for (const auto& bad : kBad) {
    v1::GenerateRequest broken = SimpleRequest("bad");
    bad.edit(&broken);
    const grpc::Status status = ReadStream(server_.stub(), broken).status;
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(bad.message));
  }
}

}  // namespace
}  // namespace ration
