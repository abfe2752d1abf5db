// A model that can run a step: embeds, routes, appends to the KV cache, attends and returns logits.
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_MODEL_H_
#define RATION_ENGINE_MODEL_MODEL_H_

#include <array>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/forward_batch.h"
#include "engine/model/model_info.h"
#include "engine/router/expert_spec.h"

namespace ration {

class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  // Runs one step over `batch`: every token is routed and appended to its sequence's KV in each layer through `cache`.
  // Returns float32 logits [batch.num_logits(), vocab_size] in batch order, valid until the next Forward. A sequence's results do
  // not depend on the other sequences of the batch. Internal if a kernel fails; the step's sequences are then unusable.
  virtual absl::StatusOr<at::Tensor> Forward(const ForwardBatch& batch, KvCacheManager& cache) = 0;

  // Adds the router scores seen since the last call to a histogram with the upper bounds 0.1, 0.2, .. 1.0: [expert][bucket].
  using ScoreHistogram = std::array<std::array<int64_t, 10>, kMaxExperts>;
  virtual void DrainScoreHistogram(ScoreHistogram& histogram) { (void)histogram; }
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MODEL_H_
