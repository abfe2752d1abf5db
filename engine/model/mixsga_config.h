// The "mixsga" object of config.json, which makes a checkpoint a routed one; docs/routing.md describes the format.
// Layer: engine/model. Value type.
#ifndef RATION_ENGINE_MODEL_MIXSGA_CONFIG_H_
#define RATION_ENGINE_MODEL_MIXSGA_CONFIG_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/router/expert_spec.h"

namespace ration {

struct MixsgaConfig {
  ExpertSpec experts;
  int64_t routing_window = 256;        // tokens, > 0
  bool elastic = false;                // trained over a range of ratios rather than one
  std::optional<Ratio> trained_ratio;  // the one ratio of a checkpoint that is not elastic
  Ratio default_ratio;                 // served unless the operator says otherwise
  std::vector<std::pair<double, Ratio>> ladder;  // (KV fraction, ratio), descending fractions; empty: the server's default
};

// InvalidArgument names the key, after `where` ("config.json: mixsga."), the value and the rule. REQUIRES: object.is_object().
absl::StatusOr<MixsgaConfig> ParseMixsga(const nlohmann::json& object, int64_t num_kv_heads, const std::string& where);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MIXSGA_CONFIG_H_
