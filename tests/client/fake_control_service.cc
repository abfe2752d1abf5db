#include "tests/client/fake_control_service.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace ration::testing {

FakeControlService::FakeControlService() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  target_ = absl::StrCat("127.0.0.1:", port);
}

FakeControlService::~FakeControlService() { server_->Shutdown(); }

grpc::Status FakeControlService::GetState(grpc::ServerContext*, const v1::GetStateRequest*, v1::ServerState* response) {
  *response = state;
  return status;
}

grpc::Status FakeControlService::WatchState(grpc::ServerContext* context, const v1::WatchStateRequest* request,
                                            grpc::ServerWriter<v1::ServerState>* writer) {
  watch_request = *request;
  v1::ServerState next = state;
  for (int64_t i = 0; i < states_to_send; ++i) {
    writer->Write(next);
    next.set_uptime_seconds(next.uptime_seconds() + 1);
    next.set_generated_tokens(next.generated_tokens() + 100);
  }
  watching.Notify();
  // The synchronous API can only be polled; the pause keeps the processor free for the client.
  while (hang && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
  return status;
}

grpc::Status FakeControlService::SetRatio(grpc::ServerContext*, const v1::SetRatioRequest* request, v1::SetRatioResponse* response) {
  ratio_request = *request;
  *response = ratio_answer;
  return status;
}

grpc::Status FakeControlService::SetBudget(grpc::ServerContext*, const v1::SetBudgetRequest* request,
                                           v1::SetBudgetResponse* response) {
  budget_request = *request;
  *response = budget_answer;
  return status;
}

grpc::Status FakeControlService::SetPolicy(grpc::ServerContext*, const v1::SetPolicyRequest* request,
                                           v1::SetPolicyResponse* response) {
  policy_request = *request;
  *response = policy_answer;
  return status;
}

grpc::Status FakeControlService::Drain(grpc::ServerContext*, const v1::DrainRequest* request, v1::DrainResponse* response) {
  drain_request = *request;
  *response = drain_answer;
  return status;
}

v1::ServerState BusyState() {
  v1::ServerState state;
  state.set_epoch(12);
  state.set_budget_policy(v1::BUDGET_POLICY_GOVERNOR);
  state.set_mode(v1::MODE_AUTO);
  state.set_uptime_seconds(3725);
  state.set_budget_bytes(int64_t{1} << 30);
  state.set_used_bytes(int64_t{3} << 28);
  state.set_reserved_bytes(int64_t{7} << 27);
  state.set_page_bytes(4096);
  state.set_pressure(0.75);
  state.set_kv_fraction(0.5);
  state.set_wanted_kv_fraction(0.4);
  state.set_realised_kv_fraction(0.6);
  for (int e = 0; e < 3; ++e) {
    v1::ExpertState& expert = *state.add_experts();
    expert.set_group_size(1 << e);
    expert.set_ratio(e == 0 ? 0.3 : e == 1 ? 0.1 : 0.6);
    expert.set_cached_tokens(1000);
    expert.set_cached_bytes(int64_t{1} << (28 - e));
  }
  state.set_requests_running(5);
  state.set_requests_waiting(3);
  state.set_waiting_tokens(480);
  state.set_generated_tokens(10000);
  state.mutable_policy()->set_mode(v1::MODE_AUTO);
  state.mutable_policy()->set_floor(0.25);
  state.mutable_policy()->add_ladder("1:0:0");
  return state;
}

}  // namespace ration::testing
