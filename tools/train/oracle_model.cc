#include "tools/train/oracle_model.h"

#include <utility>

#include <ATen/ATen.h>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "tools/train/llama_forward.h"
#include "tools/train/route_functions.h"

namespace ration {

absl::StatusOr<std::unique_ptr<OracleModel>> OracleModel::Create(const Checkpoint& checkpoint) {
  auto model = absl::WrapUnique(new OracleModel);
  RATION_ASSIGN_OR_RETURN(model->weights_, LoadLlamaWeights(checkpoint));
  return model;
}

absl::StatusOr<OracleModel::Output> OracleModel::Forward(absl::Span<const int32_t> tokens,
                                                         const Options& options) const {
  const ModelConfig& c = weights_.config;
  const int64_t length = static_cast<int64_t>(tokens.size());
  if (length == 0 || length > c.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("sequence of ", length, " tokens; must be 1 to ", c.max_positions));
  }
  at::Tensor ids = at::empty({1, length}, at::kLong);
  for (int64_t t = 0; t < length; ++t) {
    if (tokens[t] < 0 || tokens[t] >= c.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokens[", t, "] = ", tokens[t], " is not in [0, ", c.vocab_size, ")"));
    }
    ids.data_ptr<int64_t>()[t] = tokens[t];
  }

  const at::NoGradGuard no_grad;
  std::vector<LayerRouting> routing;
  ForwardOptions forward;
  forward.routing = &routing;
  const int num_experts = c.experts().num_experts();
  if (!options.told_routes.empty()) {
    bool fits = static_cast<int64_t>(options.told_routes.size()) == c.num_layers;
    for (const std::vector<uint8_t>& layer : options.told_routes) {
      fits = fits && static_cast<int64_t>(layer.size()) == length;
      for (const uint8_t expert : layer) fits = fits && expert < num_experts;
    }
    if (!fits) {
      return absl::InvalidArgumentError(
          absl::StrCat("told_routes must be ", c.num_layers, " layers of ", length, " experts below ", num_experts));
    }
    forward.route = ToldRoutes(options.told_routes);
  } else if (weights_.has_routers()) {
    DecodeRouter::Options router_options;
    router_options.num_layers = static_cast<int>(c.num_layers);
    router_options.ratio = options.ratio.value_or(c.mixsga->default_ratio);
    router_options.rule = options.decode_rule;
    if (router_options.ratio.num_experts() != num_experts) {
      return absl::InvalidArgumentError(
          absl::StrCat("ratio ", router_options.ratio.ToString(), " must have ", num_experts, " shares"));
    }
    for (const LlamaLayerWeights& layer : weights_.layers) {
      std::vector<float>& table = router_options.calibration.emplace_back();
      if (!layer.router_calibration.defined()) continue;
      const at::Tensor scores = layer.router_calibration.contiguous();
      table.assign(scores.data_ptr<float>(), scores.data_ptr<float>() + scores.numel());
    }
    RATION_ASSIGN_OR_RETURN(std::shared_ptr<const DecodeRouter> router, DecodeRouter::Create(router_options));
    forward.route = DecodeRoutes(std::move(router), options.prompt_tokens < 0 ? length : options.prompt_tokens,
                                 c.mixsga->routing_window);
  } else if (options.ratio && options.ratio->num_experts() != 1) {
    return absl::InvalidArgumentError("a plain checkpoint has one expert and takes no ratio");
  }

  Output output;
  output.logits = LlamaForward(weights_, ids, forward).squeeze(0);
  output.routes.assign(c.num_layers, std::vector<uint8_t>(length, 0));
  for (size_t layer = 0; layer < routing.size(); ++layer) {
    for (int64_t t = 0; t < length; ++t) {
      output.routes[layer][t] = static_cast<uint8_t>(routing[layer].experts.data_ptr<int64_t>()[t]);
    }
    output.scores.push_back(routing[layer].scores.squeeze(0));
  }
  return output;
}

absl::StatusOr<std::vector<int32_t>> OracleModel::Greedy(absl::Span<const int32_t> prompt, int64_t count,
                                                         Options options) const {
  if (!options.told_routes.empty())
    return absl::InvalidArgumentError("told_routes must be empty for a greedy continuation");
  options.prompt_tokens = static_cast<int64_t>(prompt.size());
  std::vector<int32_t> sequence(prompt.begin(), prompt.end()), generated;
  for (int64_t i = 0; i < count; ++i) {
    RATION_ASSIGN_OR_RETURN(const Output output, Forward(sequence, options));
    const at::Tensor last = output.logits[output.logits.size(0) - 1];
    generated.push_back(static_cast<int32_t>(last.argmax().item<int64_t>()));
    sequence.push_back(generated.back());
  }
  return generated;
}

}  // namespace ration
