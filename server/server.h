// The server as a whole: builds the gRPC server, the engine thread and the metrics endpoint around a model, and takes them down in
// the right order.
// Layer: server. Thread-compatible: one owner starts, drains and destroys it.
//
// Health (health_reporter.h): "" is whether the process is alive, "ration.v1.Generation" whether new requests are wanted. The control
// API has a port, and a gRPC server, of its own, which answers to the end of a drain; so does the health port.
#ifndef RATION_SERVER_SERVER_H_
#define RATION_SERVER_SERVER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <grpcpp/server.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/engine_runner.h"
#include "engine/engine_stats.h"
#include "server/call_context.h"
#include "server/connection_acceptor.h"
#include "server/control_log.h"
#include "server/control_service.h"
#include "server/delivery_thread.h"
#include "server/engine_watch.h"
#include "server/generation_service.h"
#include "server/health_endpoint.h"
#include "server/health_reporter.h"
#include "server/metrics.h"
#include "server/metrics_endpoint.h"
#include "server/security/security.h"
#include "server/served_model.h"
#include "server/server_options.h"
#include "server/timer_thread.h"

namespace ration {

class Server {
 public:
  // Serves from the moment this returns. Unavailable names an address that cannot be bound.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, ServedModel model);
  // Drain(absl::ZeroDuration()) without the delay, unless a drain has ended.
  ~Server();

  // In this order: ready turns NOT_SERVING; after drain_delay new requests get UNAVAILABLE; requests already accepted may end within
  // `grace` from then on; what is left ends with UNAVAILABLE. A drain that the control API began goes on where it is. Returns when no
  // call is left and the ports are closed; true if every request ended by itself.
  bool Drain(absl::Duration grace);

  int port() const { return port_; }
  int metrics_port() const { return metrics_port_; }  // 0: no metrics
  int control_port() const { return control_port_; }  // 0: no control API
  int health_port() const { return health_endpoint_ != nullptr ? health_endpoint_->port() : 0; }  // 0: none
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
  absl::Status StartHealth();
  // Not ready from now on, and new requests are refused after drain_delay. Idempotent; thread-safe; does not wait.
  void BeginDrain();
  bool draining() const;
  // Refuses new requests, whatever is left of the delay. Idempotent; thread-safe.
  void RefuseRequests();

  const ServerOptions options_;
  ServedModel model_;  // its engine moves to runner_
  std::unique_ptr<EngineRunner> runner_;
  std::unique_ptr<DeliveryThread> delivery_;
  int64_t max_connections_ = 0;  // what the process can afford of options_.connections
  std::unique_ptr<Security> security_;  // the gRPC servers use its credentials
  std::atomic<int64_t> refused_connections_{0}, refused_control_connections_{0};  // so far, by the acceptors
  CallContext context_;
  std::unique_ptr<GenerationService> service_;
  std::unique_ptr<grpc::Server> grpc_server_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  int port_ = 0;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint_;
  std::shared_ptr<const ControlLog> control_log_;
  std::unique_ptr<ControlService> control_service_;
  std::unique_ptr<grpc::Server> control_server_;
  std::unique_ptr<ConnectionAcceptor> control_acceptor_;
  int control_port_ = 0;
  std::unique_ptr<HealthEndpoint> health_endpoint_;
  int metrics_port_ = 0;
  HealthReporter health_;
  std::unique_ptr<EngineWatch> watch_;
  bool drained_ = false;

  mutable Mutex drain_mutex_;
  CondVar refusing_changed_;
  bool drain_begun_ ABSL_GUARDED_BY(drain_mutex_) = false;
  bool refusing_ ABSL_GUARDED_BY(drain_mutex_) = false;

  std::unique_ptr<TimerThread> timer_;  // of the drain's delay and the watch; gone before what they touch
};

}  // namespace ration

#endif  // RATION_SERVER_SERVER_H_
