// Decode routers by ratio: made from the model's calibration when a ratio first comes up, kept for when it comes up again. The governor
// moves between few ratios (multiples of its quantum, and requests' floors), so hardly any step makes one.
// Layer: engine/budget. Thread-compatible: used only by the engine thread. The routers themselves are immutable.
#ifndef RATION_ENGINE_BUDGET_ROUTER_CACHE_H_
#define RATION_ENGINE_BUDGET_ROUTER_CACHE_H_

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/router/decode_router.h"
#include "engine/router/expert_spec.h"

namespace ration {

class RouterCache {
 public:
  struct Options {
    int num_layers = 0;   // > 0
    int num_experts = 0;  // > 0
    DecodeRule rule = DecodeRule::kThreshold;
    // As DecodeRouter::Options::calibration.
    std::vector<std::vector<float>> calibration;
    int64_t capacity = 128;  // routers kept, the most recently used; >= 1
  };
  // InvalidArgument as SortedCalibration::Create.
  static absl::StatusOr<std::unique_ptr<RouterCache>> Create(const Options& options);

  // The router of a ratio by the options' rule, or by thresholds whatever the rule. REQUIRES: ratio.num_experts() == num_experts().
  std::shared_ptr<const DecodeRouter> Get(const Ratio& ratio) { return Find(ratio, rule_); }
  std::shared_ptr<const DecodeRouter> GetThreshold(const Ratio& ratio) { return Find(ratio, DecodeRule::kThreshold); }

  int num_experts() const { return num_experts_; }
  int64_t size() const { return static_cast<int64_t>(routers_.size()); }

 private:
  RouterCache(const Options& options, SortedCalibration calibration);
  std::shared_ptr<const DecodeRouter> Find(const Ratio& ratio, DecodeRule rule);

  const int num_experts_;
  const DecodeRule rule_;
  const int64_t capacity_;
  const SortedCalibration calibration_;
  std::list<std::shared_ptr<const DecodeRouter>> routers_;  // most recently used first
};

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_ROUTER_CACHE_H_
