#include "tools/train/routed_attention.h"

#include <utility>

namespace ration {

void ClearOutputs(const ForwardOptions& options) {
  if (options.routing != nullptr) options.routing->clear();
  if (options.attention_inputs != nullptr) options.attention_inputs->clear();
  if (options.trace != nullptr) *options.trace = ForwardTrace();
}

void RouteAndGroup(int layer, const at::Tensor& x, const RouterWeights& router, const ExpertSpec& spec,
                   const ForwardOptions& options, at::Tensor& k, at::Tensor& v) {
  if (options.attention_inputs != nullptr) options.attention_inputs->push_back(x);
  if (!options.route || !router.weight.defined()) return;
  LayerRouting routing;
  routing.logits = at::linear(x, router.weight, router.bias);
  routing.scores = at::sigmoid(routing.logits);
  routing.experts = options.route(layer, routing.scores.detach().contiguous());
  at::Tensor gates = at::one_hot(routing.experts, routing.scores.size(2)).to(at::kFloat);  // [B, T, E]
  if (options.straight_through != StraightThrough::kNone) {
    // S - S is zero, exactly, in the forward pass; the gradient sees the first S.
    at::Tensor through = routing.scores - routing.scores.detach();
    if (options.straight_through == StraightThrough::kAll) {
      // Every token would rather keep more heads, but quotas are fixed: only the difference to the others can
      // matter, and without taking the mean away all scores would drift up.
      through = through - through.mean(1, /*keepdim=*/true);  // the mean of zeros is zero
    } else {
      through = through * gates;
    }
    gates = gates + through;
  }
  k = GroupHeads(k, gates, spec);
  v = GroupHeads(v, gates, spec);
  if (options.routing != nullptr) options.routing->push_back(std::move(routing));
}

at::Tensor GroupHeads(const at::Tensor& heads, const at::Tensor& gates, const ExpertSpec& spec) {
  const int64_t batch = heads.size(0), length = heads.size(1), num_heads = heads.size(2), dim = heads.size(3);
  at::Tensor grouped;
  for (int e = 0; e < spec.num_experts(); ++e) {
    const int64_t group = spec.group_size(e);
    at::Tensor means = heads;
    if (group > 1) {
      means = heads.view({batch, length, num_heads / group, group, dim})
                  .mean(3, /*keepdim=*/true)
                  .expand({batch, length, num_heads / group, group, dim})
                  .reshape({batch, length, num_heads, dim});
    }
    const at::Tensor gate = gates.select(2, e).view({batch, length, 1, 1});
    grouped = e == 0 ? means * gate : grouped + means * gate;
  }
  return grouped;
}

}  // namespace ration
