// A Control service without a server behind it, over real gRPC on a free loopback port: replies what a test told it to and remembers
// what it was asked.
// Thread rule: set the public members before calls are made; read them after.
#ifndef RATION_TESTS_CLIENT_FAKE_CONTROL_SERVICE_H_
#define RATION_TESTS_CLIENT_FAKE_CONTROL_SERVICE_H_

#include <memory>
#include <string>

#include <grpcpp/server.h>
#include <grpcpp/server_context.h>

#include "absl/synchronization/notification.h"
#include "proto/control.grpc.pb.h"

namespace ration::testing {

class FakeControlService final : public v1::Control::Service {
 public:
  FakeControlService();
  ~FakeControlService() override;

  const std::string& target() const { return target_; }  // HOST:PORT

  v1::ServerState state;             // of GetState; a watch sends it again and again, a second older each time
  v1::SetRatioResponse ratio_answer;
  v1::SetBudgetResponse budget_answer;
  v1::SetPolicyResponse policy_answer;
  v1::DrainResponse drain_answer;
  grpc::Status status;               // of every call
  int64_t states_to_send = 3;        // of a watch, which then ends with `status`, or stays open if `hang`
  bool hang = false;
  absl::Notification watching;       // the states were sent

  // The last request of each kind.
  v1::WatchStateRequest watch_request;
  v1::SetRatioRequest ratio_request;
  v1::SetBudgetRequest budget_request;
  v1::SetPolicyRequest policy_request;
  v1::DrainRequest drain_request;

 private:
  grpc::Status GetState(grpc::ServerContext*, const v1::GetStateRequest*, v1::ServerState* response) override;
  grpc::Status WatchState(grpc::ServerContext* context, const v1::WatchStateRequest* request,
                          grpc::ServerWriter<v1::ServerState>* writer) override;
  grpc::Status SetRatio(grpc::ServerContext*, const v1::SetRatioRequest* request, v1::SetRatioResponse* response) override;
  grpc::Status SetBudget(grpc::ServerContext*, const v1::SetBudgetRequest* request, v1::SetBudgetResponse* response) override;
  grpc::Status SetPolicy(grpc::ServerContext*, const v1::SetPolicyRequest* request, v1::SetPolicyResponse* response) override;
  grpc::Status Drain(grpc::ServerContext*, const v1::DrainRequest* request, v1::DrainResponse* response) override;

  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

// A server in the middle of its work: three experts, three quarters of 1 GiB used.
v1::ServerState BusyState();

}  // namespace ration::testing

#endif  // RATION_TESTS_CLIENT_FAKE_CONTROL_SERVICE_H_
