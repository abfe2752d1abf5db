// A port that serves grpc.health.v1 and nothing else, in plain text: for probes that speak no TLS, as Kubernetes' own do. Whoever
// reaches it learns whether the server is alive and ready, and can do nothing.
// Layer: server. Thread-compatible.
#ifndef RATION_SERVER_HEALTH_ENDPOINT_H_
#define RATION_SERVER_HEALTH_ENDPOINT_H_

#include <memory>

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/server.h>

#include "absl/status/statusor.h"
#include "server/listen_address.h"

namespace ration {

class HealthEndpoint {
 public:
  // Serves from the moment this returns. Unavailable names an address that cannot be bound.
  static absl::StatusOr<std::unique_ptr<HealthEndpoint>> Start(const ListenAddress& address);
  // Ends every call, watches too.
  ~HealthEndpoint();

  int port() const { return port_; }
  // Of gRPC's health service; HealthReporter tells it what to say.
  grpc::Server* server() { return server_.get(); }

 private:
  HealthEndpoint() = default;

  // Answers everything else with UNIMPLEMENTED. gRPC's own health service is not enough for a server on the callback API to start.
  grpc::CallbackGenericService everything_else_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace ration

#endif  // RATION_SERVER_HEALTH_ENDPOINT_H_
