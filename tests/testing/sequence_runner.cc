#include "tests/testing/sequence_runner.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "engine/base/check.h"

namespace ration::testing {

SequenceRunner::SequenceRunner(ServingModel* serving, KvCacheManager* cache)
    : serving_(serving), cache_(cache), routing_(serving->config.num_layers), routes_(serving->config.num_layers) {
  kv_ = cache->NewSequence();
  RATION_CHECK(kv_ != nullptr);
}

at::Tensor SequenceRunner::Step(absl::Span<const int32_t> tokens, Phase phase) {
  ForwardBatch batch;
  SequenceStep step;
  step.kv = kv_.get();
  step.routing = &routing_;
  step.router = serving_->router.get();
  step.tokens = tokens;
  step.start_position = position_;
  step.phase = phase;
  step.num_logits = static_cast<int64_t>(tokens.size());
  step.route_log = &routes_;
  batch.sequences.push_back(step);
  absl::StatusOr<at::Tensor> logits = serving_->model->Forward(batch, *cache_);
  RATION_CHECK(logits.ok());
  position_ += static_cast<int64_t>(tokens.size());
  cache_->FreeExpired(*kv_, position_);
  return logits->clone();
}

at::Tensor SequenceRunner::Prefill(absl::Span<const int32_t> tokens, int64_t chunk) {
  const int64_t size = chunk > 0 ? chunk : static_cast<int64_t>(tokens.size());
  std::vector<at::Tensor> parts;
  for (size_t begin = 0; begin < tokens.size(); begin += size) parts.push_back(Step(tokens.subspan(begin, size), Phase::kPrefill));
  return at::cat(parts, 0);
}

at::Tensor SequenceRunner::Decode(int32_t token) { return Step(absl::MakeConstSpan(&token, 1), Phase::kDecode)[0]; }

int32_t Argmax(const at::Tensor& logits) {
  const float* values = logits.data_ptr<float>();
  return static_cast<int32_t>(std::max_element(values, values + logits.numel()) - values);
}

}  // namespace ration::testing
