#include "tools/train/oracle_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "tools/train/gemma2_forward.h"
#include "tools/train/llama_forward.h"
#include "tools/train/opt_forward.h"
#include "tools/train/oracle_tensors.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

absl::StatusOr<LlamaWeights> LoadLlama(const OracleConfig& config, const TensorSource& source) {
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.hidden_size = config.hidden_size;
  c.intermediate_size = config.ffn_size;
  c.num_layers = config.num_layers;
  c.num_query_heads = config.num_query_heads;
  c.num_kv_heads = config.num_kv_heads;
  c.head_dim = config.head_dim;
  c.vocab_size = config.vocab_size;
  c.norm_eps = config.norm_eps;
  c.tie_word_embeddings = config.tied;
  c.attention_bias = config.attention_bias;
  c.mlp_bias = config.mlp_bias;
  if (config.routing) c.mixsga.emplace().experts = config.routing->experts;
  return LoadLlamaWeights(c, config.rope, source);
}

}  // namespace

absl::StatusOr<std::unique_ptr<OracleModel>> OracleModel::Open(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/config.json");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  RATION_ASSIGN_OR_RETURN(const OracleConfig config, ParseOracleConfig(text));
  RATION_ASSIGN_OR_RETURN(const auto tensors, DirectoryTensors::Open(directory));
  return Create(config, *tensors);
}

absl::StatusOr<std::unique_ptr<OracleModel>> OracleModel::Create(const OracleConfig& config,
                                                                 const TensorSource& source) {
  auto model = absl::WrapUnique(new OracleModel);
  model->config_ = config;
  switch (config.family) {
    case OracleFamily::kLlama: {
      RATION_ASSIGN_OR_RETURN(LlamaWeights weights, LoadLlama(config, source));
      for (const LlamaLayerWeights& w : weights.layers) model->calibration_.push_back(w.router_calibration);
      model->forward_ = [weights = std::move(weights)](const at::Tensor& tokens, const ForwardOptions& options) {
        return LlamaForward(weights, tokens, options);
      };
      break;
    }
    case OracleFamily::kOpt: {
      RATION_ASSIGN_OR_RETURN(OptWeights weights, LoadOptWeights(config, source));
      for (const OptLayerWeights& w : weights.layers) model->calibration_.push_back(w.router.calibration);
      model->forward_ = [weights = std::move(weights)](const at::Tensor& tokens, const ForwardOptions& options) {
        return OptForward(weights, tokens, options);
      };
      break;
    }
    case OracleFamily::kGemma2: {
      RATION_ASSIGN_OR_RETURN(Gemma2Weights weights, LoadGemma2Weights(config, source));
      for (const Gemma2LayerWeights& w : weights.layers) model->calibration_.push_back(w.router.calibration);
      model->forward_ = [weights = std::move(weights)](const at::Tensor& tokens, const ForwardOptions& options) {
        return Gemma2Forward(weights, tokens, options);
      };
      break;
    }
  }
  return model;
}

absl::Status OracleModel::CheckTokens(absl::Span<const int32_t> tokens) const {
  const int64_t length = static_cast<int64_t>(tokens.size());
  if (length == 0 || length > config_.max_length()) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence of ", length, " tokens; must be 1 to ", config_.max_length()));
  }
  for (int64_t t = 0; t < length; ++t) {
    if (tokens[t] < 0 || tokens[t] >= config_.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokens[", t, "] = ", tokens[t], " is not in [0, ", config_.vocab_size, ")"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RouteFunction> OracleModel::Route(const Options& options, int64_t length) const {
  const int num_experts = config_.experts().num_experts();
  if (!options.told_routes.empty()) {
    bool fits = static_cast<int64_t>(options.told_routes.size()) == config_.num_layers;
    for (const std::vector<uint8_t>& layer : options.told_routes) {
      fits = fits && static_cast<int64_t>(layer.size()) == length;
      for (const uint8_t expert : layer) fits = fits && expert < num_experts;
    }
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat("told_routes must be ", config_.num_layers, " layers of ", length,
                                                     " experts below ", num_experts));
    }
    return ToldRoutes(options.told_routes);
  }
  if (options.ratio && options.ratio->num_experts() != num_experts) {
    return absl::InvalidArgumentError(
        absl::StrCat("ratio ", options.ratio->ToString(), " must have ", num_experts, " shares"));
  }
  if (!config_.routing) return RouteFunction();
  DecodeRouter::Options router_options;
  router_options.num_layers = static_cast<int>(config_.num_layers);
  router_options.ratio = options.ratio.value_or(config_.routing->default_ratio);
  router_options.rule = options.decode_rule;
  for (const at::Tensor& table : calibration_) {
    std::vector<float>& scores = router_options.calibration.emplace_back();
    if (table.defined()) scores.assign(table.data_ptr<float>(), table.data_ptr<float>() + table.numel());
  }
  RATION_ASSIGN_OR_RETURN(std::shared_ptr<const DecodeRouter> router, DecodeRouter::Create(router_options));
  return DecodeRoutes(std::move(router), options.prompt_tokens < 0 ? length : options.prompt_tokens,
                      config_.routing->window);
}

absl::StatusOr<OracleModel::Output> OracleModel::Forward(absl::Span<const int32_t> tokens,
                                                         const Options& options) const {
  RATION_RETURN_IF_ERROR(CheckTokens(tokens));
  const int64_t length = static_cast<int64_t>(tokens.size());
  const at::Tensor ids = at::tensor(std::vector<int64_t>(tokens.begin(), tokens.end())).unsqueeze(0);
  Output output;
  std::vector<LayerRouting> routing;
  ForwardOptions forward;
  forward.routing = &routing;
  forward.trace = &output.trace;
  RATION_ASSIGN_OR_RETURN(forward.route, Route(options, length));

  const c10::NoGradGuard no_grad;
  output.logits = forward_(ids, forward).squeeze(0);
  output.routes.assign(config_.num_layers, std::vector<uint8_t>(length, 0));
  for (size_t layer = 0; layer < routing.size(); ++layer) {
    for (int64_t t = 0; t < length; ++t) {
      output.routes[layer][t] = static_cast<uint8_t>(routing[layer].experts.data_ptr<int64_t>()[t]);
    }
    output.scores.push_back(routing[layer].scores.squeeze(0));
  }
  output.trace.embed = output.trace.embed.squeeze(0);
  for (at::Tensor& layer : output.trace.layers) layer = layer.squeeze(0);
  output.trace.final = output.trace.final.squeeze(0);
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
