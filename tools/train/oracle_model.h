// The truth the engine is compared with: a Llama, OPT or Gemma-2 model, with or without routers, float32, whole
// sequences at once, no cache and no pages. It shares the routing rules (engine/router) with the engine and nothing
// else, not even the reading of config.json. Slow and plain on purpose. Layer: tools/train. Immutable after Create;
// thread-safe.
#ifndef RATION_TOOLS_TRAIN_ORACLE_MODEL_H_
#define RATION_TOOLS_TRAIN_ORACLE_MODEL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/router/decode_router.h"
#include "engine/router/expert_spec.h"
#include "engine/weights/tensor_source.h"
#include "tools/train/oracle_config.h"
#include "tools/train/routed_attention.h"

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
    ForwardTrace trace;                        // without the batch: [T, D]
  };

  // Reads a Hugging Face directory: config.json and model*.safetensors. NotFound names the missing file; else fails as
  // ParseOracleConfig, SafetensorsFile::Open and TensorSource::Tensor do.
  static absl::StatusOr<std::unique_ptr<OracleModel>> Open(const std::string& directory);
  // The weights are copied. Fails as TensorSource::Tensor does.
  static absl::StatusOr<std::unique_ptr<OracleModel>> Create(const OracleConfig& config, const TensorSource& source);

  // InvalidArgument if a token is out of range, the sequence empty or longer than config().max_length(), or told_routes
  // does not fit.
  absl::StatusOr<Output> Forward(absl::Span<const int32_t> tokens, const Options& options) const;

  // The prompt continued by `count` greedy tokens (ties to the lower id), each from a full pass over the sequence so
  // far; options' prompt_tokens is set to the prompt's length and told_routes must be empty. Returns the new tokens.
  absl::StatusOr<std::vector<int32_t>> Greedy(absl::Span<const int32_t> prompt, int64_t count, Options options) const;

  const OracleConfig& config() const { return config_; }

 private:
  OracleModel() = default;

  absl::Status CheckTokens(absl::Span<const int32_t> tokens) const;
  // Empty for a plain checkpoint.
  absl::StatusOr<RouteFunction> Route(const Options& options, int64_t length) const;

  OracleConfig config_;
  std::function<at::Tensor(const at::Tensor& tokens, const ForwardOptions& options)> forward_;  // the family's
  std::vector<at::Tensor> calibration_;  // [layers] of [num_samples, E], undefined where absent
};

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ORACLE_MODEL_H_
