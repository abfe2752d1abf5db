// The ways to route whole sequences, as RouteFunctions for the forward passes: expert choice in windows (prefill), the
// streaming rule (decode), or routes told from outside. All call engine/router, as the server does. Layer: tools/train.
// The functions keep copies of their arguments; thread-compatible.
#ifndef RATION_TOOLS_TRAIN_ROUTE_FUNCTIONS_H_
#define RATION_TOOLS_TRAIN_ROUTE_FUNCTIONS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/router/decode_router.h"
#include "engine/router/expert_spec.h"
#include "tools/train/routed_attention.h"

namespace ration {

// Progressive top-k in windows of `window` tokens. ratios: one a sequence, or one for all. On any device; the other
// ways need their scores on the CPU.
RouteFunction ExpertChoiceRoutes(std::vector<Ratio> ratios, int64_t window);

// The first `prompt_tokens` tokens by expert choice at the router's ratio, the rest one by one by `router`, which sees
// the counts of its own sequence and layer from the first prompt token on.
RouteFunction DecodeRoutes(std::shared_ptr<const DecodeRouter> router, int64_t prompt_tokens, int64_t window);

// Given routes: experts [layers][batch * length].
RouteFunction ToldRoutes(std::vector<std::vector<uint8_t>> experts);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ROUTE_FUNCTIONS_H_
