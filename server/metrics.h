// Every Prometheus family of the server: turns a snapshot of the engine's plain numbers into families when it is scraped. Families
// and their order are fixed, and so are labels but for the names of tenants, which the operator sets; none depends on what clients send.
// Layer: server; the only place that knows Prometheus beside server.cc, which turns the families into text. Thread-safe.
#ifndef RATION_SERVER_METRICS_H_
#define RATION_SERVER_METRICS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include "engine/engine_stats.h"

namespace ration {

class Metrics final : public prometheus::Collectable {
 public:
  // Of ration_model_info and ration_untrained_routing.
  struct ModelLabels {
    std::string name;
    std::string architecture;
    std::string dtype;
    std::string family;
    std::string untrained_routing = "none";  // as --untrained_routing
  };
  // Of the engine's thread.
  struct EnginePulse {
    bool stalled = false;
    double step_age_seconds = 0;
  };
  // Who did not get as far as the engine, since the start.
  struct Refusals {
    int64_t unauthenticated = 0;    // calls
    int64_t permission_denied = 0;  // calls
    int64_t connections = 0;        // to the generation port, beyond its limit
    int64_t control_connections = 0;
  };
  // The functions are called by every scrape, from any thread.
  Metrics(ModelLabels model, std::function<EngineStats()> snapshot, std::function<EnginePulse()> pulse,
          std::function<Refusals()> refusals);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const ModelLabels model_;
  const std::function<EngineStats()> snapshot_;
  const std::function<EnginePulse()> pulse_;
  const std::function<Refusals()> refusals_;
};

// The families of one snapshot, without those of the process; for tests.
std::vector<prometheus::MetricFamily> EngineFamilies(const EngineStats& stats);

}  // namespace ration

#endif  // RATION_SERVER_METRICS_H_
