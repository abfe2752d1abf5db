// Runs one sequence through a model by hand, without an engine: prefill in chunks of any size, then token by token.
// For tests that compare logits and routes. Thread-compatible.
#ifndef RATION_TESTS_TESTING_SEQUENCE_RUNNER_H_
#define RATION_TESTS_TESTING_SEQUENCE_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/types/span.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/model_factory.h"

namespace ration::testing {

class SequenceRunner {
 public:
  // `serving` and `cache` must outlive the runner. Reserves pages for the whole context.
  SequenceRunner(ServingModel* serving, KvCacheManager* cache);

  // Puts `tokens` through the model as prompt, `chunk` at a time (a multiple of the routing window for routed models; 0: all at
  // once), and returns every token's logits [tokens, vocab_size], copied.
  at::Tensor Prefill(absl::Span<const int32_t> tokens, int64_t chunk);
  // Puts one generated token through the model; returns its logits [vocab_size], copied.
  at::Tensor Decode(int32_t token);

  int64_t num_tokens() const { return position_; }
  const SequenceKv& kv() const { return *kv_; }
  SequenceKv& mutable_kv() { return *kv_; }
  // Each layer's route of every token so far, [num_layers][num_tokens].
  const std::vector<std::vector<uint8_t>>& routes() const { return routes_; }

 private:
  at::Tensor Step(absl::Span<const int32_t> tokens, Phase phase);

  ServingModel* const serving_;
  KvCacheManager* const cache_;
  std::unique_ptr<SequenceKv> kv_;
  SequenceRouting routing_;
  std::vector<std::vector<uint8_t>> routes_;
  int64_t position_ = 0;
};

// The index of the largest value; ties to the lowest. logits: [vocab_size] float32.
int32_t Argmax(const at::Tensor& logits);

}  // namespace ration::testing

#endif  // RATION_TESTS_TESTING_SEQUENCE_RUNNER_H_
