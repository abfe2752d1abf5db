// Expert choice for many sequences at once, as tensor operations on whatever device the scores are on: for training on
// an accelerator, where a loop over tokens would wait for it in every layer. The rule is engine/router's, and a test
// holds the two together. Layer: tools/train. Pure functions; thread-safe.
#ifndef RATION_TOOLS_TRAIN_BATCHED_ROUTING_H_
#define RATION_TOOLS_TRAIN_BATCHED_ROUTING_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "engine/router/expert_spec.h"

namespace ration {

// The quota of each expert in each routing window of sequences of `length` tokens, as NextQuota gives them one window
// after another: [ratios, windows, E] int64, on the CPU.
at::Tensor WindowQuotas(const std::vector<Ratio>& ratios, int64_t length, int64_t window);

// ProgressiveTopK in every window of every sequence. scores: [B, T, E]; quotas: [B or 1, windows, E], on the scores'
// device. Returns experts [B, T] int64.
at::Tensor BatchedTopK(const at::Tensor& scores, const at::Tensor& quotas, int64_t window);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_BATCHED_ROUTING_H_
