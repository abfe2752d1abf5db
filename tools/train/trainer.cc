#include "tools/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <torch/torch.h>

#include "engine/base/check.h"
#include "tools/train/fused_attention.h"
#include "tools/train/llama_forward.h"
#include "tools/train/losses.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

constexpr double kPi = 3.14159265358979323846;

}  // namespace

struct Trainer::Optimizer {
  std::vector<at::Tensor> parameters;  // in the order of the groups below
  std::unique_ptr<torch::optim::AdamW> adamw;
  std::vector<double> peaks;  // one a group
};

Trainer::Trainer(LlamaWeights student, LlamaWeights teacher, RatioLadder ladder, at::Tensor stream,
                 const Options& options)
    : student_(std::move(student)),
      teacher_(std::move(teacher)),
      ladder_(std::move(ladder)),
      options_(options),
      batches_(std::move(stream), options.length, options.seed),
      random_(options.seed + 1),
      optimizer_(std::make_unique<Optimizer>()) {
  RATION_CHECK(student_.has_routers());
  std::vector<at::Tensor> matrices, vectors, routers;
  for (auto& [name, tensor] : student_.Named()) {
    if (name.find("calibration") != std::string::npos) continue;
    tensor->set_requires_grad(true);
    const bool router = name.find(".router.") != std::string::npos;
    (router ? routers : tensor->dim() > 1 ? matrices : vectors).push_back(*tensor);
  }
  std::vector<torch::optim::OptimizerParamGroup> groups;
  const auto add = [&](const std::vector<at::Tensor>& tensors, double rate, double decay) {
    auto group_options = std::make_unique<torch::optim::AdamWOptions>(rate);
    group_options->weight_decay(decay).betas({0.9, 0.98});
    groups.emplace_back(tensors, std::move(group_options));
    optimizer_->peaks.push_back(rate);
    optimizer_->parameters.insert(optimizer_->parameters.end(), tensors.begin(), tensors.end());
  };
  add(matrices, options_.learning_rate, options_.weight_decay);
  add(vectors, options_.learning_rate, 0);
  add(routers, options_.router_learning_rate, 0);
  optimizer_->adamw = std::make_unique<torch::optim::AdamW>(groups);
}

Trainer::~Trainer() = default;

double Trainer::Rate(double progress) const {
  if (progress < options_.warmup) return (progress + 1e-3) / (options_.warmup + 1e-3);
  const double along = (progress - options_.warmup) / std::max(1e-9, 1 - options_.warmup);
  const double floor = options_.final_learning_rate;
  return floor + (1 - floor) * 0.5 * (1 + std::cos(kPi * std::min(1.0, along)));
}

Trainer::StepResult Trainer::Step(double progress) {
  const ExpertSpec& spec = student_.config.mixsga->experts;
  const at::Tensor batch = batches_.Next(options_.batch);
  const at::Tensor inputs = batch.narrow(1, 0, options_.length), targets = batch.narrow(1, 1, options_.length);
  const std::vector<Ratio> ratios = DrawRatios(ladder_, options_.draw, options_.batch, random_);

  at::Tensor teacher_logits;
  if (options_.distill > 0) {
    const at::NoGradGuard no_grad;
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

  optimizer_->adamw->zero_grad();
  (loss + options_.aux_alpha * router_loss).backward();
  StepResult result;
  result.gradient_norm = torch::nn::utils::clip_grad_norm_(
      optimizer_->parameters, options_.clip_norm > 0 ? options_.clip_norm : std::numeric_limits<double>::infinity());
  const double rate = Rate(progress);
  for (size_t i = 0; i < optimizer_->peaks.size(); ++i) {
    static_cast<torch::optim::AdamWOptions&>(optimizer_->adamw->param_groups()[i].options())
        .lr(optimizer_->peaks[i] * rate);
  }
  optimizer_->adamw->step();

  result.loss = loss.item<double>();
  result.router_loss = router_loss.item<double>();
  result.learning_rate = options_.learning_rate * rate;
  result.asked.assign(spec.num_experts(), 0);
  result.realised.assign(spec.num_experts(), 0);
  for (const Ratio& ratio : ratios) {
    result.kv_fraction += ratio.KvFraction(spec) / static_cast<double>(ratios.size());
    for (int e = 0; e < spec.num_experts(); ++e) result.asked[e] += ratio.share(e) / static_cast<double>(ratios.size());
  }
  for (const LayerRouting& layer : routing) {
    const at::Tensor counts = at::bincount(layer.experts.flatten(), {}, spec.num_experts());
    for (int e = 0; e < spec.num_experts(); ++e) {
      result.realised[e] += static_cast<double>(counts[e].item<int64_t>()) /
                            static_cast<double>(layer.experts.numel() * static_cast<int64_t>(routing.size()));
    }
  }
  return result;
}

}  // namespace ration
