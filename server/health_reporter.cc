#include "server/health_reporter.h"

#include <grpcpp/health_check_service_interface.h>

namespace ration {
namespace {

constexpr char kGenerationService[] = "ration.v1.Generation";
constexpr char kControlService[] = "ration.v1.Control";

}  // namespace

void HealthReporter::Add(grpc::Server* server, Services services) {
  MutexLock lock(&mutex_);
  reporters_.push_back({server, services});
  Report();
}

void HealthReporter::SetReady(bool ready) {
  MutexLock lock(&mutex_);
  ready_ = ready;
  Report();
}

void HealthReporter::SetAlive(bool alive) {
  MutexLock lock(&mutex_);
  alive_ = alive;
  Report();
}

void HealthReporter::Report() {
  for (const Reporter& reporter : reporters_) {
    grpc::HealthCheckServiceInterface* const health = reporter.server->GetHealthCheckService();
    health->SetServingStatus("", alive_);
    if (reporter.services == Services::kControl) {
      health->SetServingStatus(kControlService, true);
    } else {
      health->SetServingStatus(kGenerationService, ready_ && alive_);
    }
  }
}

}  // namespace ration
