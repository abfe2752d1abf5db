#include "tools/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <c10/core/GradMode.h>

#include "engine/base/check.h"
#include "tools/train/fused_attention.h"
#include "tools/train/llama_forward.h"
#include "tools/train/losses.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

constexpr double kPi = 3.14159265358979323846;

}  // namespace

Trainer::Trainer(LlamaWeights student, LlamaWeights teacher, RatioLadder ladder, at::Tensor stream,
                 const at::Tensor& samples, const Options& options)
    : student_(std::move(student)),
      teacher_(std::move(teacher)),
      ladder_(std::move(ladder)),
      options_(options),
      batches_(std::move(stream), options.length, options.seed),
      random_(options.seed + 1) {
  RATION_CHECK(student_.has_routers());
  if (samples.defined()) {
    RATION_CHECK(samples.size(1) == options_.length + 1);
    samples_.emplace(samples, options_.seed + 2);
  }
  std::vector<at::Tensor> tensors;
  std::vector<double> rates, decays;
  for (auto& [name, tensor] : student_.Named()) {
    if (name.find("calibration") != std::string::npos) continue;
    const bool router = name.find(".router.") != std::string::npos;
    names_.push_back(name);
    tensors.push_back(*tensor);
    rates.push_back(router ? options_.router_learning_rate : options_.learning_rate);
    decays.push_back(router || tensor->dim() < 2 ? 0 : options_.learning_rate * options_.weight_decay);
  }
  parameters_ = std::make_unique<FlatParameters>(std::move(tensors));
  AdamW::Options adamw;
  adamw.clip_norm = options_.clip_norm;
  adamw_ = std::make_unique<AdamW>(*parameters_, parameters_->Spread(rates), parameters_->Spread(decays), adamw);
  if (options_.average_decay > 0) average_ = parameters_->values().clone();
}

LlamaWeights Trainer::Result() const {
  LlamaWeights result = CloneWeights(student_, student_.embed.device());
  if (!average_.defined()) return result;
  size_t i = 0;
  for (auto& [name, tensor] : result.Named()) {
    if (i < names_.size() && name == names_[i]) *tensor = parameters_->Part(average_, i++).clone();
  }
  return result;
}

double Trainer::Rate(double progress) const {
  if (progress < options_.warmup) return (progress + 1e-3) / (options_.warmup + 1e-3);
  const double along = (progress - options_.warmup) / std::max(1e-9, 1 - options_.warmup);
  const double floor = options_.final_learning_rate;
  return floor + (1 - floor) * 0.5 * (1 + std::cos(kPi * std::min(1.0, along)));
}

at::Tensor Trainer::NextBatch() {
  if (!samples_) return batches_.Next(options_.batch);
  const int64_t sampled = std::llround(options_.sample_share * static_cast<double>(options_.batch));
  if (sampled == 0) return batches_.Next(options_.batch);
  if (sampled == options_.batch) return samples_->Next(sampled);
  return at::cat({batches_.Next(options_.batch - sampled), samples_->Next(sampled)});
}

void Trainer::Step(double progress) {
  const at::Tensor batch = NextBatch();
  const at::Tensor inputs = batch.narrow(1, 0, options_.length), targets = batch.narrow(1, 1, options_.length);
  const std::vector<Ratio> ratios = DrawRatios(ladder_, options_.draw, options_.batch, random_);

  at::Tensor teacher_logits;
  if (options_.distill > 0) {
    const c10::NoGradGuard no_grad;
    ForwardOptions teacher_options;
    teacher_options.attention = FusedAttention;
    teacher_logits = LlamaForward(teacher_, inputs, teacher_options);
  }

  std::vector<LayerRouting> routing;
  ForwardOptions forward;
  forward.route = ExpertChoiceRoutes(ratios, student_.config.mixsga->routing_window);
  forward.attention = FusedAttention;
  forward.straight_through = options_.straight_through;
  forward.routing = &routing;
  const at::Tensor logits = LlamaForward(student_, inputs, forward);
  const at::Tensor loss = LanguageLoss(logits, targets, teacher_logits, options_.distill);
  const at::Tensor router_loss = RouterLoss(routing);
  (loss + options_.aux_alpha * router_loss).backward();

  const c10::NoGradGuard no_grad;
  const double rate = Rate(progress);
  const at::Tensor norm = adamw_->Step(rate);
  ++steps_;
  if (average_.defined()) {
    // Young averages forget faster, or the start would weigh on them for too long.
    const double steps = static_cast<double>(steps_);
    average_.lerp_(parameters_->values(), 1 - std::min(options_.average_decay, steps / (steps + 10)));
  }
  sums_.learning_rate = options_.learning_rate * rate;
  Record(ratios, routing, at::stack({loss.detach(), router_loss.detach(), norm}));
}

void Trainer::Record(const std::vector<Ratio>& ratios, const std::vector<LayerRouting>& routing,
                     const at::Tensor& numbers) {
  const ExpertSpec& spec = student_.config.mixsga->experts;
  sums_.asked.resize(spec.num_experts(), 0);
  for (const Ratio& ratio : ratios) {
    sums_.kv_fraction += ratio.KvFraction(spec) / static_cast<double>(ratios.size());
    for (int e = 0; e < spec.num_experts(); ++e) sums_.asked[e] += ratio.share(e) / static_cast<double>(ratios.size());
  }
  std::vector<at::Tensor> layers;
  for (const LayerRouting& layer : routing) layers.push_back(layer.experts);
  const at::Tensor experts = at::stack(layers);
  std::vector<at::Tensor> all = {numbers};
  for (int e = 0; e < spec.num_experts(); ++e) all.push_back(experts.eq(e).to(at::kFloat).mean().view({1}));
  const at::Tensor now = at::cat(all);
  device_sums_ = sums_.steps == 0 ? now : device_sums_ + now;
  ++sums_.steps;
}

Trainer::Report Trainer::TakeReport() {
  RATION_CHECK(sums_.steps > 0);
  const double steps = static_cast<double>(sums_.steps);
  Report report = sums_;
  report.kv_fraction /= steps;
  for (double& share : report.asked) share /= steps;
  const at::Tensor means = device_sums_.to(at::kCPU, at::kDouble) / steps;
  const double* mean = means.data_ptr<double>();
  report.loss = mean[0];
  report.router_loss = mean[1];
  report.gradient_norm = mean[2];
  report.realised.assign(mean + 3, mean + means.numel());
  sums_ = Report();
  return report;
}

}  // namespace ration
