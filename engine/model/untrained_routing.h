// Squeezing a plain checkpoint, whose tokens no trained router ranks: which experts it gets and what its tokens are routed by.
// It costs quality, more than trained routers do; whoever serves says so.
// Layer: engine/model. Value types; stateless functions.
#ifndef RATION_ENGINE_MODEL_UNTRAINED_ROUTING_H_
#define RATION_ENGINE_MODEL_UNTRAINED_ROUTING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/mixsga_config.h"

namespace ration {

struct UntrainedRouting {
  enum class Kind {
    kNone,     // full KV; nothing may be squeezed
    kStatic,   // every token at one group size, unless the operator changes the ratio
    kRecency,  // the newest tokens keep their heads, the oldest lose them first
  } kind = Kind::kNone;
  int group_size = 1;  // of kStatic, > 1

  bool operator==(const UntrainedRouting& other) const { return kind == other.kind && group_size == other.group_size; }
};

// "none", "recency" or "static:GROUP_SIZE". InvalidArgument quotes the text.
absl::StatusOr<UntrainedRouting> ParseUntrainedRouting(absl::string_view text);
std::string ToString(const UntrainedRouting& routing);

// 1, then the smallest divisor of num_kv_heads above 1, then the smallest multiple of that which divides them, as long as group
// sizes above the second stay at 4 or below: 8 heads -> 1, 2, 4; 6 -> 1, 2; 3 -> 1, 3; 1 -> 1.
std::vector<int> GroupSizesFor(int64_t num_kv_heads);

// What stands for a checkpoint's "mixsga" object. InvalidArgument if a static group size does not divide the heads.
// REQUIRES: routing.kind != kNone.
absl::StatusOr<MixsgaConfig> UntrainedConfig(const UntrainedRouting& routing, int64_t num_kv_heads);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_UNTRAINED_ROUTING_H_
