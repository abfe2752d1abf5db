#include "tools/train/losses.h"

namespace ration {

at::Tensor LanguageLoss(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& teacher,
                        double distill) {
  const int64_t vocab = logits.size(2), tokens = targets.numel();
  const at::Tensor log_probabilities = at::log_softmax(logits.reshape({tokens, vocab}), 1);
  const at::Tensor next = targets.reshape({tokens, 1});
  if (!teacher.defined() || distill == 0) return -log_probabilities.gather(1, next).mean();
  at::Tensor wanted = at::softmax(teacher.detach().reshape({tokens, vocab}), 1).mul_(distill);
  wanted.scatter_add_(1, next, at::full({tokens, 1}, 1 - distill, wanted.options()));
  return -(wanted * log_probabilities).sum() / static_cast<double>(tokens);
}

at::Tensor RouterLoss(const std::vector<LayerRouting>& routing) {
  at::Tensor sum;
  for (const LayerRouting& layer : routing) {
    const at::Tensor assigned = at::one_hot(layer.experts, layer.logits.size(2)).to(at::kFloat);
    const at::Tensor loss = at::binary_cross_entropy_with_logits(layer.logits, assigned);
    sum = sum.defined() ? sum + loss : loss;
  }
  return sum / static_cast<double>(routing.size());
}

}  // namespace ration
