// The truth the engine is compared with: a Llama model with routers, float32, whole sequences at once, no cache and no
// pages. It shares the routing rules (engine/router) with the engine and nothing else. Slow and plain on purpose.
// Layer: tools/train. Immutable after Create; thread-safe.
#ifndef RATION_TOOLS_TRAIN_ORACLE_MODEL_H_
#define RATION_TOOLS_TRAIN_ORACLE_MODEL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/router/decode_router.h"
#include "engine/router/expert_spec.h"
#include "engine/weights/checkpoint.h"
#include "tools/train/llama_weights.h"

namespace ration {

class OracleModel {
 public:
  struct Options {
    // The ratio in force. A plain checkpoint has one expert and takes Ratio() only; for a routed one, nullopt is its
    // default.
    std::optional<Ratio> ratio;
    // The first tokens, routed in windows as prefill does; the rest one by one as decode does. Negative: all of them.
    int64_t prompt_tokens = -1;
    DecodeRule decode_rule = DecodeRule::kThreshold;
    // If not empty, the expert of every token, [layers][tokens]; ratio, prompt_tokens and decode_rule are then ignored.
    std::vector<std::vector<uint8_t>> told_routes;
  };
  struct Output {
    at::Tensor logits;                         // [T, V] float32
    std::vector<std::vector<uint8_t>> routes;  // [layers][T]; all 0 for a plain checkpoint
    std::vector<at::Tensor> scores;            // [layers] of [T, E]; empty for a plain checkpoint
  };

  // Fails as LoadLlamaWeights.
  static absl::StatusOr<std::unique_ptr<OracleModel>> Create(const Checkpoint& checkpoint);

  // InvalidArgument if a token is out of range, the sequence empty or longer than the context, or told_routes does not
  // fit.
  absl::StatusOr<Output> Forward(absl::Span<const int32_t> tokens, const Options& options) const;

  // The prompt continued by `count` greedy tokens (ties to the lower id), each from a full pass over the sequence so
  // far; options' prompt_tokens is set to the prompt's length and told_routes must be empty. Returns the new tokens.
  absl::StatusOr<std::vector<int32_t>> Greedy(absl::Span<const int32_t> prompt, int64_t count, Options options) const;

  const ModelConfig& config() const { return weights_.config; }

 private:
  OracleModel() = default;

  LlamaWeights weights_;
};

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ORACLE_MODEL_H_
