#include "server/connection_limits.h"

#include <algorithm>
#include <limits>

#include <grpc/grpc.h>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

constexpr int64_t kOtherDescriptors = 128;  // files, pollers, listening sockets, metrics
constexpr int64_t kDescriptorsPerConnection = 2;

int Milliseconds(absl::Duration time) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(time), std::numeric_limits<int>::max()));
}

}  // namespace

void ApplyConnectionLimits(const ConnectionLimits& limits, grpc::ServerBuilder* builder) {
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.max_streams_per_connection);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, Milliseconds(limits.handshake_timeout));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(limits.max_idle));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(limits.max_age));
  // Notice clients that vanished without closing their connection, and those that only send pings.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(limits.keepalive));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(limits.keepalive_timeout));
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000);
}

absl::StatusOr<int64_t> AffordableConnections(int64_t wanted, int64_t descriptors) {
  const int64_t control = std::min(wanted, kMaxControlConnections);
  int64_t affordable = (descriptors - kOtherDescriptors) / kDescriptorsPerConnection - control;
  // With few descriptors both ports get the same.
  if (affordable < control) affordable = (descriptors - kOtherDescriptors) / kDescriptorsPerConnection / 2;
  if (affordable < 1) {
    return absl::FailedPreconditionError(absl::StrCat("--max_connections: the process may open ", descriptors,
                                                      " files (ulimit -n), too few for any connection"));
  }
  return std::min(wanted, affordable);
}

}  // namespace ration
