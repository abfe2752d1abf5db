// How many connections a gRPC port takes, what each may do, and how long.
// Layer: server. Value type; stateless functions.
#ifndef RATION_SERVER_CONNECTION_LIMITS_H_
#define RATION_SERVER_CONNECTION_LIMITS_H_

#include <cstdint>

#include <grpcpp/server_builder.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ration {

struct ConnectionLimits {
  int64_t max_connections = 4096;         // >= 1; of the generation port
  int max_streams_per_connection = 2048;  // >= 1
  absl::Duration handshake_timeout = absl::Seconds(10);
  absl::Duration max_idle = absl::Minutes(10);           // without a call; infinite: never closed
  absl::Duration max_age = absl::InfiniteDuration();     // then no new calls; running ones end as they would
  // A connection on which nothing came for `keepalive` is asked whether it lives, and cut off without an answer in `keepalive_timeout`.
  absl::Duration keepalive = absl::Seconds(30);
  absl::Duration keepalive_timeout = absl::Seconds(20);
};

// Operators need few connections, and must get one while the generation port is flooded: the control port has a limit of its own.
inline constexpr int64_t kMaxControlConnections = 256;

void ApplyConnectionLimits(const ConnectionLimits& limits, grpc::ServerBuilder* builder);

// The largest number of connections up to `wanted` for which `descriptors`, the most that the process may open, are enough: two for each
// here and on the control port, and some for everything else. FailedPrecondition if there are not even enough for one.
absl::StatusOr<int64_t> AffordableConnections(int64_t wanted, int64_t descriptors);

}  // namespace ration

#endif  // RATION_SERVER_CONNECTION_LIMITS_H_
