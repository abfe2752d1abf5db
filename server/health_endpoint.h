// A port that serves grpc.health.v1 and nothing else, in plain text: for probes that speak no TLS, as Kubernetes' own do. Whoever
// reaches it learns whether the server is alive and ready, and can do nothing.
// Layer: server. Stateless.
#ifndef RATION_SERVER_HEALTH_ENDPOINT_H_
#define RATION_SERVER_HEALTH_ENDPOINT_H_

#include <memory>

#include <grpcpp/server.h>

#include "absl/status/statusor.h"
#include "server/listen_address.h"

namespace ration {

// Serves from the moment this returns, with gRPC's health service (HealthReporter tells it what to say); `port` gets the one in use.
// Unavailable names an address that cannot be bound.
absl::StatusOr<std::unique_ptr<grpc::Server>> StartHealthEndpoint(const ListenAddress& address, int* port);

}  // namespace ration

#endif  // RATION_SERVER_HEALTH_ENDPOINT_H_
