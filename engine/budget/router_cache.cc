#include "engine/budget/router_cache.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

DecodeRouter::Options RouterOptions(const RouterCache::Options& options, const Ratio& ratio, DecodeRule rule) {
  DecodeRouter::Options router;
  router.num_layers = options.num_layers;
  router.ratio = ratio;
  router.rule = rule;
  router.calibration = options.calibration;
  return router;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RouterCache>> RouterCache::Create(const Options& options) {
  if (options.num_experts < 1 || options.num_experts > kMaxExperts || options.capacity < 1) {
    return absl::InvalidArgumentError(absl::StrCat("router cache: num_experts must be in [1, ", kMaxExperts,
                                                   "] and capacity >= 1, not ", options.num_experts, " and ",
                                                   options.capacity));
  }
  // Whether the calibration is sound does not depend on the ratio.
  RATION_RETURN_IF_ERROR(
      DecodeRouter::Create(RouterOptions(options, Ratio::AllTo(0, options.num_experts), options.rule)).status());
  return absl::WrapUnique(new RouterCache(options));
}

std::shared_ptr<const DecodeRouter> RouterCache::Find(const Ratio& ratio, DecodeRule rule) {
  RATION_CHECK(ratio.num_experts() == options_.num_experts);
  for (auto it = routers_.begin(); it != routers_.end(); ++it) {
    if ((*it)->rule() != rule || (*it)->ratio() != ratio) continue;
    routers_.splice(routers_.begin(), routers_, it);
    return routers_.front();
  }
  absl::StatusOr<std::unique_ptr<const DecodeRouter>> made = DecodeRouter::Create(RouterOptions(options_, ratio, rule));
  RATION_CHECK(made.ok());
  routers_.push_front(*std::move(made));
  if (size() > options_.capacity) routers_.pop_back();
  return routers_.front();
}

}  // namespace ration
