#include "engine/model/router_layer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/router/routing.h"
#include "kernels/elementwise.h"

namespace ration {

absl::StatusOr<RouterLayer> RouterLayer::Create(const TensorSource& source, absl::string_view prefix, const ModelConfig& config) {
  RouterLayer router;
  router.hidden_size_ = config.hidden_size;
  router.num_experts_ = config.experts().num_experts();
  router.routing_window_ = config.mixsga ? config.mixsga->routing_window : 1;
  router.max_positions_ = config.max_positions;
  if (router.num_experts_ > 1 && config.untrained_routing.kind == UntrainedRouting::Kind::kNone) {
    const int64_t experts = router.num_experts_;
    RATION_ASSIGN_OR_RETURN(at::Tensor weight, source.Tensor(absl::StrCat(prefix, ".weight"), {experts, config.hidden_size}));
    RATION_ASSIGN_OR_RETURN(at::Tensor bias, source.Tensor(absl::StrCat(prefix, ".bias"), {experts}));
    router.weight_ = weight.to(at::kFloat).contiguous();
    router.bias_ = bias.to(at::kFloat).contiguous();
  }
  return router;
}

void RouterLayer::Score(const float* x, const ForwardBatch& batch, int64_t num_tokens, kernels::cpu::ThreadPool& pool,
                        Model::ScoreHistogram& histogram) {
  scores_.resize(num_tokens * num_experts_);
  if (!reads_input()) {
    float* scores = scores_.data();
    for (const SequenceStep& step : batch.sequences) {
      for (size_t i = 0; i < step.tokens.size(); ++i, scores += num_experts_) {
        const int64_t position = step.start_position + static_cast<int64_t>(i);
        std::fill_n(scores, num_experts_, static_cast<float>(position + 1) / static_cast<float>(max_positions_ + 1));
      }
    }
    return;
  }
  kernels::cpu::RouterScoresParams params;
  params.x = x;
  params.weight = weight_.data_ptr<float>();
  params.bias = bias_.data_ptr<float>();
  params.scores = scores_.data();
  params.rows = num_tokens;
  params.dim = hidden_size_;
  params.num_experts = num_experts_;
  kernels::cpu::RouterScores(params, pool);
  for (int64_t i = 0; i < num_tokens * num_experts_; ++i) {
    const int bucket = std::min(9, std::max(0, static_cast<int>(std::ceil(scores_[i] * 10)) - 1));
    ++histogram[i % num_experts_][bucket];
  }
}

void RouterLayer::Route(int64_t layer, const float* x, const ForwardBatch& batch, KvCacheManager& cache,
                        kernels::cpu::ThreadPool& pool, Model::ScoreHistogram& histogram, absl::Span<kernels::KvSlot> slots,
                        std::vector<std::vector<int32_t>>& visible) {
  const int64_t num_tokens = static_cast<int64_t>(slots.size());
  const int num_experts = num_experts_;
  experts_.assign(num_tokens, 0);
  if (routed()) Score(x, batch, num_tokens, pool, histogram);
  visible.resize(batch.sequences.size());
  int64_t row = 0;
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    const SequenceStep& step = batch.sequences[s];
    const int64_t count = static_cast<int64_t>(step.tokens.size());
    const absl::Span<uint8_t> experts = absl::MakeSpan(experts_).subspan(row, count);
    ExpertCounts& counts = step.routing->counts[layer];
    if (routed() && step.phase == Phase::kPrefill) {
      RATION_CHECK(step.start_position % routing_window_ == 0);
      for (int64_t begin = 0; begin < count; begin += routing_window_) {
        const int64_t size = std::min(routing_window_, count - begin);
        const ExpertCounts quota = NextQuota(step.router->ratio(), counts, size);
        ProgressiveTopK(absl::MakeConstSpan(scores_).subspan((row + begin) * num_experts, size * num_experts), num_experts, quota,
                        experts.subspan(begin, size));
        for (int e = 0; e < num_experts; ++e) counts.count[e] += quota.count[e];
        counts.total += size;
      }
    } else if (routed()) {
      for (int64_t i = 0; i < count; ++i) {
        const absl::Span<const float> scores = absl::MakeConstSpan(scores_).subspan((row + i) * num_experts, num_experts);
        experts[i] = static_cast<uint8_t>(step.router->Route(static_cast<int>(layer), scores, counts));
        counts.Add(experts[i]);
      }
    } else {
      counts.count[0] += count;
      counts.total += count;
    }
    // A prefill row sees what was cached before the step and the step's tokens up to itself.
    std::vector<int32_t>& prefix = visible[s];
    prefix.clear();
    if (count > 1) {
      std::array<int32_t, kMaxExperts> seen{};
      for (int e = 0; e < num_experts; ++e) seen[e] = static_cast<int32_t>(step.kv->num_tokens(layer, e));
      prefix.reserve(count * num_experts);
      for (int64_t i = 0; i < count; ++i) {
        ++seen[experts[i]];
        prefix.insert(prefix.end(), seen.begin(), seen.begin() + num_experts);
      }
    }
    const absl::Span<const float> scores =
        routed() ? absl::MakeConstSpan(scores_).subspan(row * num_experts, count * num_experts) : absl::Span<const float>();
    cache.Append(*step.kv, layer, step.start_position, experts, scores, slots.subspan(row, count));
    if (step.route_log != nullptr) {
      std::vector<uint8_t>& log = (*step.route_log)[layer];
      log.insert(log.end(), experts.begin(), experts.end());
    }
    row += count;
  }
}

}  // namespace ration
