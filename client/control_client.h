// A client of the Control service: one method a call, blocking, errors as absl::Status.
// Layer: client, on top of proto. Thread-safe.
#ifndef RATION_CLIENT_CONTROL_CLIENT_H_
#define RATION_CLIENT_CONTROL_CLIENT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/generation_client.h"
#include "proto/control.grpc.pb.h"

namespace ration {

class ControlClient {
 public:
  // Talks to `target`, HOST:PORT. Does not wait for the server: calls fail with Unavailable as long as it cannot be reached.
  static std::unique_ptr<ControlClient> Create(const std::string& target, const Transport& transport = Transport());

  // In every call `cancellation` may be null. Errors are the server's (see proto/control.proto), Unavailable if it cannot be reached,
  // Cancelled after a cancellation. SmallestBudget (rpc_error.h) tells which budget would have done.
  absl::StatusOr<v1::ServerState> GetState(Cancellation* cancellation = nullptr);
  absl::StatusOr<v1::SetRatioResponse> SetRatio(const v1::SetRatioRequest& request, Cancellation* cancellation = nullptr);
  absl::StatusOr<v1::SetBudgetResponse> SetBudget(const v1::SetBudgetRequest& request, Cancellation* cancellation = nullptr);
  absl::StatusOr<v1::SetPolicyResponse> SetPolicy(const v1::SetPolicyRequest& request, Cancellation* cancellation = nullptr);
  absl::StatusOr<v1::DrainResponse> Drain(const v1::DrainRequest& request, Cancellation* cancellation = nullptr);
  // Calls `on_state` with each state as it comes, on this thread, until it returns false (OK) or the stream ends.
  absl::Status WatchState(const v1::WatchStateRequest& request, absl::FunctionRef<bool(const v1::ServerState&)> on_state,
                          Cancellation* cancellation = nullptr);

 private:
  class Call;
  explicit ControlClient(std::unique_ptr<v1::Control::Stub> stub) : stub_(std::move(stub)) {}
  template <typename Request, typename Response>
  absl::StatusOr<Response> Unary(grpc::Status (v1::Control::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                 const Request& request, Cancellation* cancellation);

  const std::unique_ptr<v1::Control::Stub> stub_;
};

}  // namespace ration

#endif  // RATION_CLIENT_CONTROL_CLIENT_H_
