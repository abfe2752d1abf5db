// The server as a whole: builds the gRPC server, the engine thread and the metrics endpoint around a model, and takes them down in
// the right order.
// Layer: server. Thread-compatible: one owner starts, drains and destroys it.
//
// Health (grpc.health.v1): "" is SERVING while the process can answer at all; "ration.v1.Generation" is SERVING while new requests
// are accepted, and is the first thing to change when a drain begins. The control API has a port, and a gRPC server, of its own, which
// answers to the end of a drain.
#ifndef RATION_SERVER_SERVER_H_
#define RATION_SERVER_SERVER_H_

#include <memory>
#include <string>

#include <grpcpp/server.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine_runner.h"
#include "engine/engine_stats.h"
#include "server/call_context.h"
#include "server/connection_acceptor.h"
#include "server/control_service.h"
#include "server/delivery_thread.h"
#include "server/generation_service.h"
#include "server/metrics.h"
#include "server/metrics_endpoint.h"
#include "server/security/security.h"
#include "server/served_model.h"
#include "server/server_options.h"

namespace ration {

class Server {
 public:
  // Serves from the moment this returns. Unavailable names an address that cannot be bound.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, ServedModel model);
  // Drain(absl::ZeroDuration()), unless a drain has ended.
  ~Server();

  // Ready turns NOT_SERVING, new requests get UNAVAILABLE, requests already accepted may end within `grace`; what is left then
  // ends with UNAVAILABLE. Returns when no call is left and the ports are closed; true if every request ended by itself.
  bool Drain(absl::Duration grace);

  int port() const { return port_; }
  int metrics_port() const { return metrics_port_; }  // 0: no metrics
  int control_port() const { return control_port_; }  // 0: no control API
  // The engine's newest numbers, at most 100 ms old.
  EngineStats Stats() const { return runner_->Stats(); }

 private:
  explicit Server(const ServerOptions& options) : options_(options) {}
  absl::Status StartSecurity();
  absl::Status CountDescriptors();
  absl::Status StartGrpc();
  absl::Status StartControl();
  // Builds a server behind an acceptor of its own.
  absl::Status StartPort(const ConnectionAcceptor::Options& address, grpc::ServerBuilder* builder,
                         std::unique_ptr<grpc::Server>* server, std::unique_ptr<ConnectionAcceptor>* acceptor, int* port);
  absl::Status StartMetrics();
  // New requests are refused from now on, and the health service says so first. Idempotent; thread-safe; does not wait.
  void BeginDrain();
  absl::Status WritePortFile() const;

  const ServerOptions options_;
  ServedModel model_;  // its engine moves to runner_
  std::unique_ptr<EngineRunner> runner_;
  std::unique_ptr<DeliveryThread> delivery_;
  int64_t max_connections_ = 0;  // what the process can afford of options_.connections
  std::unique_ptr<Security> security_;  // the gRPC servers use its credentials
  CallContext context_;
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<grpc::Server> grpc_server_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  int port_ = 0;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint_;
  std::unique_ptr<ControlService> control_service_;
  std::unique_ptr<grpc::Server> control_server_;
  std::unique_ptr<ConnectionAcceptor> control_acceptor_;
  int control_port_ = 0;
  int metrics_port_ = 0;
  bool drained_ = false;
};

}  // namespace ration

#endif  // RATION_SERVER_SERVER_H_
