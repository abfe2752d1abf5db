#include "client/control_client.h"

#include <utility>

#include "client/rpc_error.h"

namespace ration {

// The context of one call, known to its Cancellation for as long as it lives.
class ControlClient::Call {
 public:
  explicit Call(Cancellation* cancellation) : cancellation_(cancellation) {
    if (cancellation_ != nullptr) cancellation_->Begin(&context_);
  }
  ~Call() {
    if (cancellation_ != nullptr) cancellation_->End();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  grpc::ClientContext* context() { return &context_; }

 private:
  grpc::ClientContext context_;
  Cancellation* const cancellation_;
};

std::unique_ptr<ControlClient> ControlClient::Create(const std::string& target, const Transport& transport) {
  return std::unique_ptr<ControlClient>(new ControlClient(v1::Control::NewStub(CreateChannel(target, transport))));
}

template <typename Request, typename Response>
absl::StatusOr<Response> ControlClient::Unary(grpc::Status (v1::Control::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                                        Response*),
                                              const Request& request, Cancellation* cancellation) {
  Call call(cancellation);
  Response response;
  const grpc::Status status = (stub_.get()->*method)(call.context(), request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

absl::StatusOr<v1::ServerState> ControlClient::GetState(Cancellation* cancellation) {
  return Unary(&v1::Control::Stub::GetState, v1::GetStateRequest(), cancellation);
}

absl::StatusOr<v1::SetRatioResponse> ControlClient::SetRatio(const v1::SetRatioRequest& request, Cancellation* cancellation) {
  return Unary(&v1::Control::Stub::SetRatio, request, cancellation);
}

absl::StatusOr<v1::SetBudgetResponse> ControlClient::SetBudget(const v1::SetBudgetRequest& request, Cancellation* cancellation) {
  return Unary(&v1::Control::Stub::SetBudget, request, cancellation);
}

absl::StatusOr<v1::SetPolicyResponse> ControlClient::SetPolicy(const v1::SetPolicyRequest& request, Cancellation* cancellation) {
  return Unary(&v1::Control::Stub::SetPolicy, request, cancellation);
}

absl::StatusOr<v1::DrainResponse> ControlClient::Drain(const v1::DrainRequest& request, Cancellation* cancellation) {
  return Unary(&v1::Control::Stub::Drain, request, cancellation);
}

absl::Status ControlClient::WatchState(const v1::WatchStateRequest& request,
                                       absl::FunctionRef<bool(const v1::ServerState&)> on_state, Cancellation* cancellation) {
  Call call(cancellation);
  const std::unique_ptr<grpc::ClientReader<v1::ServerState>> reader = stub_->WatchState(call.context(), request);
  bool enough = false;
  v1::ServerState state;
  while (!enough && reader->Read(&state)) enough = !on_state(state);
  if (enough) call.context()->TryCancel();
  while (reader->Read(&state)) {
  }
  const grpc::Status status = reader->Finish();
  return enough ? absl::OkStatus() : FromGrpcStatus(status);
}

}  // namespace ration
