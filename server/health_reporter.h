// What grpc.health.v1 says, on every port that answers it: "" is whether the process is alive (restart it if not), the services' names
// whether they are ready (send no new requests if not).
// Layer: server. Thread-safe.
//
// Alive turns false only while the engine hangs. "ration.v1.Generation" is ready while the server is alive, serves and is not draining;
// "ration.v1.Control" while its port is open.
#ifndef RATION_SERVER_HEALTH_REPORTER_H_
#define RATION_SERVER_HEALTH_REPORTER_H_

#include <string>
#include <vector>

#include <grpcpp/server.h>

#include "absl/base/thread_annotations.h"
#include "engine/base/mutex.h"

namespace ration {

class HealthReporter {
 public:
  enum class Services { kGeneration, kControl };

  // `server`, built with gRPC's health service, reports from now on; it must outlive the last call of SetReady and SetAlive.
  void Add(grpc::Server* server, Services services);

  // At the start not ready, and alive.
  void SetReady(bool ready);
  void SetAlive(bool alive);

 private:
  struct Reporter {
    grpc::Server* server;
    Services services;
  };
  void Report() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  std::vector<Reporter> reporters_ ABSL_GUARDED_BY(mutex_);
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool alive_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace ration

#endif  // RATION_SERVER_HEALTH_REPORTER_H_
