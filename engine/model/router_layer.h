// One layer's router: scores the tokens of a step and gives each an expert and a KV slot.
// Source: mixSGA (EMNLP 2025). The rules themselves are engine/router's pure functions; this applies them to a batch.
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_ROUTER_LAYER_H_
#define RATION_ENGINE_MODEL_ROUTER_LAYER_H_

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/forward_batch.h"
#include "engine/model/model.h"
#include "engine/model/model_config.h"
#include "engine/weights/tensor_source.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/paged_kv_view.h"

namespace ration {

class RouterLayer {
 public:
  // Reads PREFIX.weight [E, D] and PREFIX.bias [E]; a model of one expert, or with untrained routing, has no router and needs no tensors.
  static absl::StatusOr<RouterLayer> Create(const TensorSource& source, absl::string_view prefix, const ModelConfig& config);

  // Whether there is more than one expert to choose from.
  bool routed() const { return num_experts_ > 1; }
  // Whether Route reads x.
  bool reads_input() const { return weight_.defined(); }

  // Routes every token of `batch` in `layer` and appends it to its sequence's pages. x: [tokens, hidden_size] float32, the
  // attention input, not read if !reads_input(). slots: [tokens], out. visible: per prefill sequence the causal prefix counts that
  // kernels/attention.h wants, one vector a sequence (empty for decode), out.
  void Route(int64_t layer, const float* x, const ForwardBatch& batch, KvCacheManager& cache, kernels::cpu::ThreadPool& pool,
             Model::ScoreHistogram& histogram, absl::Span<kernels::KvSlot> slots, std::vector<std::vector<int32_t>>& visible);

 private:
  // scores_ of the batch's tokens.
  void Score(const float* x, const ForwardBatch& batch, int64_t num_tokens, kernels::cpu::ThreadPool& pool,
             Model::ScoreHistogram& histogram);

  at::Tensor weight_;  // [E, D] float32; undefined: a token's scores are all its position's share of the context (recency)
  at::Tensor bias_;    // [E] float32
  int64_t max_positions_ = 1;
  int64_t hidden_size_ = 0;
  int64_t routing_window_ = 0;
  int num_experts_ = 1;
  std::vector<float> scores_;     // [tokens, E]
  std::vector<uint8_t> experts_;  // [tokens]
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_ROUTER_LAYER_H_
