#include "tools/train/adamw.h"

#include <cmath>
#include <utility>

#include <c10/core/GradMode.h>

namespace ration {

AdamW::AdamW(const FlatParameters& parameters, at::Tensor rates, at::Tensor decays, const Options& options)
    : parameters_(parameters),
      rates_(std::move(rates)),
      decays_(std::move(decays)),
      options_(options),
      mean_(at::zeros_like(parameters.values())),
      square_(at::zeros_like(parameters.values())) {}

at::Tensor AdamW::Step(double rate) {
  const c10::NoGradGuard no_grad;
  at::Tensor values = parameters_.values(), gradients = parameters_.gradients();
  const at::Tensor norm = gradients.norm();
  if (options_.clip_norm > 0) gradients.mul_((options_.clip_norm / (norm + 1e-6)).clamp_max(1));
  ++steps_;
  const double mean_part = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double square_part = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
  values.addcmul_(values, decays_, -rate);
  mean_.lerp_(gradients, 1 - options_.beta1);
  square_.mul_(options_.beta2).addcmul_(gradients, gradients, 1 - options_.beta2);
  const at::Tensor spread = square_.sqrt().mul_(1 / std::sqrt(square_part)).add_(options_.eps);
  values.addcdiv_(mean_ * rates_, spread, -rate / mean_part);
  gradients.zero_();
  return norm;
}

}  // namespace ration
