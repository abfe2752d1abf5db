#include "engine/budget/router_cache.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ration {

absl::StatusOr<std::unique_ptr<RouterCache>> RouterCache::Create(const Options& options) {
  if (options.num_experts < 1 || options.num_experts > kMaxExperts || options.capacity < 1) {
    return absl::InvalidArgumentError(absl::StrCat("router cache: num_experts must be in [1, ", kMaxExperts,
                                                   "] and capacity >= 1, not ", options.num_experts, " and ",
                                                   options.capacity));
  }
  RATION_ASSIGN_OR_RETURN(SortedCalibration calibration,
                          SortedCalibration::Create(options.num_layers, options.num_experts, options.calibration));
  return absl::WrapUnique(new RouterCache(options, std::move(calibration)));
}

RouterCache::RouterCache(const Options& options, SortedCalibration calibration)
    : num_experts_(options.num_experts),
      rule_(options.rule),
      capacity_(options.capacity),
      calibration_(std::move(calibration)) {}

std::shared_ptr<const DecodeRouter> RouterCache::Find(const Ratio& ratio, DecodeRule rule) {
  RATION_CHECK(ratio.num_experts() == num_experts_);
  for (auto it = routers_.begin(); it != routers_.end(); ++it) {
    if ((*it)->rule() != rule || (*it)->ratio() != ratio) continue;
    routers_.splice(routers_.begin(), routers_, it);
    return routers_.front();
  }
  routers_.push_front(DecodeRouter::Create(ratio, rule, calibration_));
  if (size() > capacity_) routers_.pop_back();
  return routers_.front();
}

}  // namespace ration
