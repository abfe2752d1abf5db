#include "tools/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include <c10/core/GradMode.h>

#include "engine/base/status_macros.h"
#include "tools/train/fused_attention.h"
#include "tools/train/llama_forward.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

constexpr int64_t kBatch = 8;  // sequences at once: enough to fill the matrix products, small enough for the caches

std::shared_ptr<const DecodeRouter> MakeDecodeRouter(const LlamaWeights& weights, const Ratio& ratio, DecodeRule rule,
                                                     absl::Status& status) {
  DecodeRouter::Options options;
  options.num_layers = static_cast<int>(weights.layers.size());
  options.ratio = ratio;
  options.rule = rule;
  for (const LlamaLayerWeights& layer : weights.layers) {
    std::vector<float> table;
    if (layer.router_calibration.defined()) {
      const at::Tensor scores = layer.router_calibration.detach().contiguous();
      table.assign(scores.data_ptr<float>(), scores.data_ptr<float>() + scores.numel());
    }
    options.calibration.push_back(std::move(table));
  }
  absl::StatusOr<std::unique_ptr<const DecodeRouter>> router = DecodeRouter::Create(options);
  status = router.status();
  return router.ok() ? std::shared_ptr<const DecodeRouter>(*std::move(router)) : nullptr;
}

}  // namespace

absl::StatusOr<EvalResult> Evaluate(const LlamaWeights& weights, const at::Tensor& sequences, const Ratio& ratio,
                                    EvalRouting routing) {
  const c10::NoGradGuard no_grad;
  if (routing != EvalRouting::kFull && !weights.has_routers()) {
    return absl::FailedPreconditionError("the model has no routers: only full KV can be evaluated");
  }
  std::vector<LayerRouting> routes;
  ForwardOptions forward;
  forward.attention = FusedAttention;
  forward.routing = &routes;
  if (routing == EvalRouting::kExpertChoice) {
    forward.route = ExpertChoiceRoutes({ratio}, weights.config.mixsga->routing_window);
  } else if (routing != EvalRouting::kFull) {
    absl::Status status;
    const auto router = MakeDecodeRouter(
        weights, ratio, routing == EvalRouting::kArgmax ? DecodeRule::kArgmax : DecodeRule::kThreshold, status);
    RATION_RETURN_IF_ERROR(status);
    forward.route = DecodeRoutes(router, 0, weights.config.mixsga->routing_window);
  }

  EvalResult result;
  const int64_t length = sequences.size(1) - 1;
  const int num_experts = weights.config.experts().num_experts();
  std::vector<int64_t> counts(num_experts, 0);
  int64_t routed = 0;
  for (int64_t begin = 0; begin < sequences.size(0); begin += kBatch) {
    const at::Tensor batch = sequences.narrow(0, begin, std::min(kBatch, sequences.size(0) - begin));
    const at::Tensor logits = LlamaForward(weights, batch.narrow(1, 0, length).contiguous(), forward);
    const at::Tensor targets = batch.narrow(1, 1, length).unsqueeze(2);
    result.loss -= at::log_softmax(logits, 2).gather(2, targets).sum().item<double>();
    result.tokens += targets.numel();
    for (const LayerRouting& layer : routes) {
      const at::Tensor layer_counts = at::bincount(layer.experts.flatten(), {}, num_experts);
      for (int e = 0; e < num_experts; ++e) counts[e] += layer_counts[e].item<int64_t>();
      routed += layer.experts.numel();
    }
  }
  result.loss /= static_cast<double>(std::max<int64_t>(1, result.tokens));
  result.perplexity = std::exp(result.loss);
  if (routed > 0) {
    result.kv_fraction = 0;
    for (int e = 0; e < num_experts; ++e) {
      result.shares.push_back(static_cast<double>(counts[e]) / static_cast<double>(routed));
      result.kv_fraction += result.shares.back() / weights.config.experts().group_size(e);
    }
  }
  return result;
}

std::vector<at::Tensor> CalibrationScores(const LlamaWeights& weights, const at::Tensor& sequences, const Ratio& ratio,
                                          int64_t samples) {
  const c10::NoGradGuard no_grad;
  std::vector<LayerRouting> routes;
  ForwardOptions forward;
  forward.attention = FusedAttention;
  forward.routing = &routes;
  forward.route = ExpertChoiceRoutes({ratio}, weights.config.mixsga->routing_window);
  const int64_t count = std::min<int64_t>(sequences.size(0), 32);
  LlamaForward(weights, sequences.narrow(0, 0, count).narrow(1, 0, sequences.size(1) - 1).contiguous(), forward);
  std::vector<at::Tensor> tables;
  for (const LayerRouting& layer : routes) {
    const at::Tensor all = layer.scores.reshape({-1, layer.scores.size(2)});
    const int64_t kept = std::min(samples, all.size(0));
    const at::Tensor rows =
        (at::arange(kept, at::kDouble) * (static_cast<double>(all.size(0)) / static_cast<double>(kept)))
            .to(all.device(), at::kLong);
    tables.push_back(all.index_select(0, rows).contiguous());
  }
  return tables;
}

}  // namespace ration
