// Makes text up with a plain model on whatever device its weights are on, thousands of sequences side by side with a
// key/value cache: more to distil from than there is text. Layer: tools/train. Thread-compatible (LibTorch's default
// random generator of the device is drawn from).
#ifndef RATION_TOOLS_TRAIN_SAMPLE_SEQUENCES_H_
#define RATION_TOOLS_TRAIN_SAMPLE_SEQUENCES_H_

#include <ATen/ATen.h>

#include <cstdint>

#include "tools/train/llama_weights.h"

namespace ration {

// Continues each of `prompts` [B, P] int64 to `length` tokens, drawn from the model's distribution at full KV
// (temperature 1). Returns [B, length]. Routers are not looked at. The caches take 2 * layers * B * H * length * d
// floats. REQUIRES: P >= 1, length >= P, length - 1 <= max_positions.
at::Tensor SampleSequences(const LlamaWeights& weights, const at::Tensor& prompts, int64_t length);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_SAMPLE_SEQUENCES_H_
