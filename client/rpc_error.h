// Errors of a call as absl::Status: the server's code and message, and when to try again if the server said so.
// Layer: client. Stateless; thread-safe.
#ifndef RATION_CLIENT_RPC_ERROR_H_
#define RATION_CLIENT_RPC_ERROR_H_

#include <cstdint>
#include <optional>
#include <string>

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ration {

// Code and message unchanged; a google.rpc.RetryInfo among the status' details is kept for RetryDelay.
absl::Status FromGrpcStatus(const grpc::Status& status);

// How long the server asks to wait before the call is tried again; absent if it said nothing (waiting may not help then).
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

// The smallest budget that a SetBudget could have had, if the server named it (ration.v1.BudgetFloor).
std::optional<int64_t> SmallestBudget(const absl::Status& status);

// For people: "RESOURCE_EXHAUSTED: the queue is full (try again in 1.5s)".
std::string DescribeError(const absl::Status& status);

}  // namespace ration

#endif  // RATION_CLIENT_RPC_ERROR_H_
