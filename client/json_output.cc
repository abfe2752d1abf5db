#include "client/json_output.h"

#include <cmath>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/time/time.h"
#include "client/rpc_error.h"

namespace ration {
namespace {

using Json = nlohmann::ordered_json;

// On one line. Protobuf strings are valid UTF-8, but a message of gRPC's own need not be.
std::string Line(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

template <typename Repeated>
Json Array(const Repeated& values) {
  Json array = Json::array();
  for (const auto& value : values) array.push_back(value);
  return array;
}

Json LogprobJson(const v1::TokenLogprob& logprob) {
  Json json;
  json["token_id"] = logprob.token_id();
  json["logprob"] = Number(logprob.logprob());
  json["top"] = Json::array();
  for (const v1::TopToken& top : logprob.top()) {
    Json token;
    token["token_id"] = top.token_id();
    token["logprob"] = Number(top.logprob());
    json["top"].push_back(std::move(token));
  }
  return json;
}

Json FinishJson(const v1::Finish& finish) {
  Json json;
  switch (finish.reason()) {
    case v1::FINISH_REASON_LENGTH:
      json["reason"] = "length";
      break;
    case v1::FINISH_REASON_STOP:
      json["reason"] = "stop";
      break;
    default:
      json["reason"] = "unspecified";
  }
  if (finish.stopped_by_case() == v1::Finish::kStopTokenId) json["stop_token_id"] = finish.stop_token_id();
  if (finish.stopped_by_case() == v1::Finish::kStopString) json["stop_string"] = finish.stop_string();
  json["prompt_tokens"] = finish.prompt_tokens();
  json["generated_tokens"] = finish.generated_tokens();
  json["queue_seconds"] = Number(finish.queue_seconds());
  json["time_to_first_token_seconds"] = Number(finish.time_to_first_token_seconds());
  json["total_seconds"] = Number(finish.total_seconds());
  Json& kv = json["kv"];
  kv["peak_bytes"] = finish.kv().peak_bytes();
  kv["stored_bytes"] = finish.kv().stored_bytes();
  kv["full_bytes"] = finish.kv().full_bytes();
  kv["prompt_tokens_per_expert"] = Array(finish.kv().prompt_tokens_per_expert());
  kv["generated_tokens_per_expert"] = Array(finish.kv().generated_tokens_per_expert());
  kv["ratio_epochs"] = Array(finish.kv().ratio_epochs());
  kv["tokens_regrouped"] = finish.kv().tokens_regrouped();
  return json;
}

}  // namespace

std::string ToJson(const v1::GenerateResponse& response) {
  Json json;
  json["request_id"] = response.request_id();
  if (response.has_prompt_info()) {
    const v1::PromptInfo& prompt = response.prompt_info();
    Json& info = json["prompt_info"];
    info["prompt_tokens"] = prompt.prompt_tokens();
    info["seed"] = prompt.seed();
    info["ratio_epoch"] = prompt.ratio_epoch();
    if (!prompt.text().empty()) info["text"] = prompt.text();
  }
  json["text"] = response.text();
  json["token_ids"] = Array(response.token_ids());
  if (response.logprobs_size() > 0) {
    Json& logprobs = json["logprobs"] = Json::array();
    for (const v1::TokenLogprob& logprob : response.logprobs()) logprobs.push_back(LogprobJson(logprob));
  }
  if (response.has_finish()) json["finish"] = FinishJson(response.finish());
  return Line(json);
}

std::string ToJson(const v1::TokenizeResponse& response) {
  Json json;
  json["ids"] = Array(response.ids());
  json["tokens"] = Array(response.tokens());
  return Line(json);
}

std::string DetokenizedToJson(const std::string& text) {
  Json json;
  json["text"] = text;
  return Line(json);
}

std::string RequestIdsToJson(const std::vector<std::string>& request_ids) {
  return Line(Json{{"request_ids", Array(request_ids)}});
}

std::string ToJson(const v1::GetModelInfoResponse& info) {
  Json json;
  json["name"] = info.name();
  json["architecture"] = info.architecture();
  json["num_layers"] = info.num_layers();
  json["hidden_size"] = info.hidden_size();
  json["num_query_heads"] = info.num_query_heads();
  json["num_kv_heads"] = info.num_kv_heads();
  json["head_dim"] = info.head_dim();
  json["vocab_size"] = info.vocab_size();
  json["context_tokens"] = info.context_tokens();
  json["compute_dtype"] = info.compute_dtype();
  json["family"] = info.family();
  json["untrained_routing"] = info.untrained_routing();
  json["sliding_window"] = info.sliding_window();
  json["sliding_layers"] = info.sliding_layers();
  json["capacities"] = Json::array();
  for (const v1::KvCapacity& capacity : info.capacities()) {
    Json entry;
    entry["kv_fraction"] = Number(capacity.kv_fraction());
    entry["ratio"] = capacity.ratio();
    entry["bytes_per_token"] = capacity.bytes_per_token();
    entry["tokens"] = capacity.tokens();
    json["capacities"].push_back(std::move(entry));
  }
  json["routed"] = info.routed();
  json["experts"] = Json::array();
  for (const v1::Expert& expert : info.experts()) {
    Json entry;
    entry["group_size"] = expert.group_size();
    entry["bytes_per_token"] = expert.bytes_per_token();
    entry["ratio"] = Number(expert.ratio());
    json["experts"].push_back(std::move(entry));
  }
  json["kv_fraction"] = Number(info.kv_fraction());
  json["ratio_epoch"] = info.ratio_epoch();
  json["routing_window"] = info.routing_window();
  json["page_bytes"] = info.page_bytes();
  json["kv_budget_bytes"] = info.kv_budget_bytes();
  json["full_kv_bytes_per_token"] = info.full_kv_bytes_per_token();
  json["has_tokenizer"] = info.has_tokenizer();
  json["has_chat_template"] = info.has_chat_template();
  if (!info.has_chat_template()) json["no_chat_template_reason"] = info.no_chat_template_reason();
  json["weight_bytes"] = info.weight_bytes();
  json["server_version"] = info.server_version();
  return Line(json);
}

std::string ErrorToJson(const absl::Status& status) {
  Json json;
  Json& error = json["error"];
  error["code"] = absl::StatusCodeToString(status.code());
  error["message"] = std::string(status.message());
  if (const std::optional<absl::Duration> delay = RetryDelay(status)) {
    error["retry_after_seconds"] = absl::ToDoubleSeconds(*delay);
  }
  if (const std::optional<int64_t> bytes = SmallestBudget(status)) error["smallest_budget_bytes"] = *bytes;
  return Line(json);
}

}  // namespace ration
