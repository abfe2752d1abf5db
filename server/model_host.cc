#include "server/model_host.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/byte_size.h"
#include "engine/base/status_macros.h"
#include "engine/chat/chat_template_files.h"
#include "engine/engine_factory.h"
#include "engine/router/expert_spec.h"
#include "server/process_stats.h"
#include "server/version.h"

namespace ration {
namespace {

v1::GetModelInfoResponse Describe(const RationdOptions& options, const LoadedEngine& loaded) {
  const EngineFacts& facts = loaded.facts;
  const ModelConfig& config = facts.config;
  v1::GetModelInfoResponse info;
  info.set_name(options.model_name);
  info.set_architecture(config.architecture);
  info.set_num_layers(config.num_layers);
  info.set_hidden_size(config.hidden_size);
  info.set_num_query_heads(config.num_query_heads);
  info.set_num_kv_heads(config.num_kv_heads);
  info.set_head_dim(config.head_dim);
  info.set_vocab_size(config.vocab_size);
  info.set_context_tokens(config.max_positions);
  info.set_compute_dtype(facts.compute_dtype);
  info.set_family(Name(config.family));
  const bool trained = config.untrained_routing.kind == UntrainedRouting::Kind::kNone;
  info.set_routed(config.mixsga.has_value() && trained);
  info.set_untrained_routing(ToString(config.untrained_routing));
  for (int64_t window : config.windows) {
    if (window == 0) continue;
    info.set_sliding_window(window);
    info.set_sliding_layers(info.sliding_layers() + 1);
  }
  for (const KvCapacity& from : facts.capacities) {
    v1::KvCapacity& capacity = *info.add_capacities();
    capacity.set_kv_fraction(from.kv_fraction);
    capacity.set_ratio(from.ratio.ToString());
    capacity.set_bytes_per_token(static_cast<int64_t>(from.kv_fraction * static_cast<double>(facts.bytes_per_token[0]) + 0.5));
    capacity.set_tokens(from.tokens);
  }
  const ExpertSpec experts = config.experts();
  for (int e = 0; e < experts.num_experts(); ++e) {
    v1::Expert& expert = *info.add_experts();
    expert.set_group_size(experts.group_size(e));
    expert.set_bytes_per_token(facts.bytes_per_token[e]);
    expert.set_ratio(facts.ratio.share(e));
  }
  info.set_kv_fraction(facts.kv_fraction);
  info.set_routing_window(loaded.info.routing_window);
  info.set_page_bytes(facts.page_bytes);
  info.set_kv_budget_bytes(facts.kv_budget_bytes);
  info.set_full_kv_bytes_per_token(facts.bytes_per_token[0]);
  info.set_has_tokenizer(loaded.tokenizer != nullptr);
  info.set_weight_bytes(facts.weight_bytes);
  info.set_server_version(kServerVersion);
  return info;
}

void LogLoaded(const v1::GetModelInfoResponse& info, const EngineFacts& facts, int threads) {
  const double bytes_per_token = facts.kv_fraction * static_cast<double>(facts.bytes_per_token[0]);
  const auto tokens = static_cast<int64_t>(static_cast<double>(facts.kv_budget_bytes) / bytes_per_token);
  const std::string group_sizes = absl::StrJoin(facts.config.experts().group_sizes(), ",");
  spdlog::info(
      "model {} ({}, {}, {} of weights, {} threads); experts with group sizes {}, ratio {}, {} of full KV; budget {} in pages of "
      "{}: about {} tokens",
      info.name(), info.architecture(), facts.compute_dtype, FormatByteSize(facts.weight_bytes), threads, group_sizes,
      facts.ratio.ToString(), absl::StrFormat("%.3g", facts.kv_fraction), FormatByteSize(facts.kv_budget_bytes),
      FormatByteSize(facts.page_bytes), tokens);
}

// A template that is missing or cannot be used leaves everything but messages as it is.
void LoadChat(const std::string& directory, ServedModel* served) {
  absl::StatusOr<std::unique_ptr<const ChatTemplate>> chat_template = LoadChatTemplate(directory);
  if (chat_template.ok()) {
    served->chat_template = *std::move(chat_template);
    return;
  }
  served->no_chat_template_reason = std::string(chat_template.status().message());
  if (absl::IsNotFound(chat_template.status())) {
    spdlog::info("no chat template, so messages are refused: {}", served->no_chat_template_reason);
  } else {
    spdlog::warn("THE CHAT TEMPLATE CANNOT BE USED, so messages are refused: {}", served->no_chat_template_reason);
  }
}

}  // namespace

absl::StatusOr<ServedModel> LoadServedModel(const RationdOptions& options) {
  ServedModel served;
  RATION_ASSIGN_OR_RETURN(LoadedEngine loaded, LoadEngine(options.engine, served.clock));
  if (loaded.tokenizer == nullptr) {
    served.no_tokenizer_reason = std::string(loaded.tokenizer_status.message());
    spdlog::warn("NO TOKENIZER: text cannot be served, only token ids: {}", served.no_tokenizer_reason);
  }
  const ModelConfig& config = loaded.facts.config;
  if (loaded.tokenizer != nullptr && loaded.tokenizer->vocab_size() > config.vocab_size) {
    spdlog::warn("the tokenizer has {} tokens and the model {}: is it another model's? Tokens that the model lacks are refused",
                 loaded.tokenizer->vocab_size(), config.vocab_size);
  }
  const bool untrained = config.untrained_routing.kind != UntrainedRouting::Kind::kNone;
  if (untrained) {
    spdlog::warn("UNTRAINED ROUTING ({}): the checkpoint has no routers, so whatever is squeezed costs quality, and nobody has measured "
                 "how much", ToString(config.untrained_routing));
  } else if (!config.mixsga.has_value()) {
    spdlog::info("the checkpoint has no routers: it is served at full KV; --untrained_routing squeezes it, at a cost in quality");
  }
  if (!config.mixsga.has_value() || untrained) {
    spdlog::info("group sizes {}: of {} key/value heads {}", absl::StrJoin(config.experts().group_sizes(), ","), config.num_kv_heads,
                 config.num_kv_heads == 1 ? "there is nothing to group" : absl::StrCat(absl::StrJoin(GroupSizesFor(config.num_kv_heads), ","),
                 " can be averaged evenly"));
  }
  if (!untrained && loaded.info.experts.num_experts() > 1 && options.engine.decode_rule == DecodeRule::kThreshold &&
      !loaded.facts.calibrated) {
    spdlog::warn("the checkpoint carries no router calibration: decoded tokens keep to the ratio, but are less well chosen");
  }
  if (const int64_t available = AvailableMemoryBytes(); available > 0 && loaded.facts.kv_budget_bytes > available) {
    spdlog::warn("--kv_budget is {}, but only {} of memory are available: the system may end this process when the cache fills",
                 FormatByteSize(loaded.facts.kv_budget_bytes), FormatByteSize(available));
  }
  LoadChat(options.engine.directory, &served);
  served.description = Describe(options, loaded);
  served.description.set_has_chat_template(served.chat_template != nullptr && loaded.tokenizer != nullptr);
  served.description.set_no_chat_template_reason(served.chat_template == nullptr ? served.no_chat_template_reason
                                                                                 : served.no_tokenizer_reason);
  LogLoaded(served.description, loaded.facts, options.engine.threads);
  served.resources = std::move(loaded.resources);
  served.tokenizer = std::move(loaded.tokenizer);
  served.info = std::move(loaded.info);
  served.engine = std::move(loaded.engine);
  return served;
}

}  // namespace ration
