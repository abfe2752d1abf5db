// The one place where an absl::Status becomes a grpc::Status.
// Layer: server. Stateless; thread-safe.
#ifndef RATION_SERVER_STATUS_UTIL_H_
#define RATION_SERVER_STATUS_UTIL_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace ration {

// Code by code (their numbers agree by design), message unchanged. A retry hint (engine/base/retry_hint.h) becomes a
// google.rpc.RetryInfo, the smallest budget (engine/budget/control.h) a ration.v1.BudgetFloor in the status' details, which gRPC sends
// as the trailer grpc-status-details-bin.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace ration

#endif  // RATION_SERVER_STATUS_UTIL_H_
