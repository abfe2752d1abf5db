#include "server/request_conversion.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/engine.h"
#include "server/chat_conversion.h"

namespace ration {
namespace {

absl::Status TooMany(absl::string_view field, int64_t limit, absl::string_view unit, int64_t value) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": must have at most ", limit, " ", unit, ", not ", value));
}

void ConvertSampling(const v1::Sampling& from, SamplingParams* to) {
  if (from.has_temperature()) to->temperature = from.temperature();
  if (from.has_top_k()) to->top_k = from.top_k();
  if (from.has_top_p()) to->top_p = from.top_p();
  if (from.has_min_p()) to->min_p = from.min_p();
  if (from.has_repetition_penalty()) to->repetition_penalty = from.repetition_penalty();
  if (from.has_presence_penalty()) to->presence_penalty = from.presence_penalty();
  if (from.has_frequency_penalty()) to->frequency_penalty = from.frequency_penalty();
  if (from.has_seed()) to->seed = from.seed();
  to->logit_bias.assign(from.logit_bias().begin(), from.logit_bias().end());
  std::sort(to->logit_bias.begin(), to->logit_bias.end());  // a map's order is not defined
}

void ConvertStopping(const v1::Stopping& from, int64_t context_left, StoppingParams* to) {
  to->max_new_tokens = from.has_max_new_tokens() ? from.max_new_tokens() : std::clamp<int64_t>(context_left, 1, to->max_new_tokens);
  if (from.has_min_new_tokens()) to->min_new_tokens = from.min_new_tokens();
  to->stop_token_ids.assign(from.stop_token_ids().begin(), from.stop_token_ids().end());
  to->stop_strings.assign(from.stop_strings().begin(), from.stop_strings().end());
  to->include_stop_string = from.include_stop_string();
  to->ignore_eos = from.ignore_eos();
}

}  // namespace

absl::Status CheckTextLength(absl::string_view field, absl::string_view text, const RequestLimits& limits) {
  if (static_cast<int64_t>(text.size()) <= limits.max_prompt_bytes) return absl::OkStatus();
  return TooMany(field, limits.max_prompt_bytes, "bytes", text.size());
}

absl::Status CheckIdCount(absl::string_view field, int64_t count, const RequestLimits& limits) {
  // A token is at least a byte of text in any practical vocabulary, so one limit serves both.
  if (count <= limits.max_prompt_bytes) return absl::OkStatus();
  return TooMany(field, limits.max_prompt_bytes, "ids", count);
}

absl::Status CheckLimits(const v1::GenerateRequest& request, const RequestLimits& limits) {
  const auto size = [](const auto& container) { return static_cast<int64_t>(container.size()); };
  if (size(request.request_id()) > limits.max_request_id_bytes) {
    return TooMany("request_id", limits.max_request_id_bytes, "bytes", request.request_id().size());
  }
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      RATION_RETURN_IF_ERROR(CheckTextLength("text", request.text(), limits));
      break;
    case v1::GenerateRequest::kTokenIds:
      RATION_RETURN_IF_ERROR(CheckIdCount("token_ids.ids", request.token_ids().ids_size(), limits));
      break;
    case v1::GenerateRequest::kMessages:
      RATION_RETURN_IF_ERROR(CheckMessages(request.messages(), limits));
      break;
    case v1::GenerateRequest::PROMPT_NOT_SET:
      return absl::InvalidArgumentError("prompt: text, token_ids or messages must be set");
  }
  const v1::Stopping& stopping = request.stopping();
  if (stopping.stop_strings_size() > limits.max_stop_strings) {
    return TooMany("stopping.stop_strings", limits.max_stop_strings, "entries", stopping.stop_strings_size());
  }
  for (int i = 0; i < stopping.stop_strings_size(); ++i) {
    const int64_t bytes = size(stopping.stop_strings(i));
    const std::string field = absl::StrCat("stopping.stop_strings[", i, "]");
    if (bytes == 0) return absl::InvalidArgumentError(absl::StrCat(field, ": must not be empty"));
    if (bytes > limits.max_stop_string_bytes) return TooMany(field, limits.max_stop_string_bytes, "bytes", bytes);
  }
  if (stopping.stop_token_ids_size() > limits.max_stop_token_ids) {
    return TooMany("stopping.stop_token_ids", limits.max_stop_token_ids, "entries", stopping.stop_token_ids_size());
  }
  if (size(request.sampling().logit_bias()) > limits.max_logit_bias_entries) {
    return TooMany("sampling.logit_bias", limits.max_logit_bias_entries, "entries", size(request.sampling().logit_bias()));
  }
  if (request.has_time_limit_ms() && request.time_limit_ms() <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("time_limit_ms: must be > 0, not ", request.time_limit_ms()));
  }
  if (request.has_queue_time_limit_ms() && request.queue_time_limit_ms() <= 0) {
    return absl::InvalidArgumentError(absl::StrCat("queue_time_limit_ms: must be > 0, not ", request.queue_time_limit_ms()));
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const v1::AbortRequest& request, const RequestLimits& limits) {
  if (request.request_ids_size() <= limits.max_abort_ids) return absl::OkStatus();
  return TooMany("request_ids", limits.max_abort_ids, "entries", request.request_ids_size());
}

absl::Status RequireTokenizer(absl::string_view field, const ModelView& model) {
  if (model.tokenizer != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(field, ": this model is served without a tokenizer, so only token ids are accepted (",
                   model.no_tokenizer_reason, ")"));
}

absl::StatusOr<ConvertedRequest> ConvertRequest(const v1::GenerateRequest& request, const ModelView& model, absl::Time now,
                                                absl::Time call_deadline, const RequestLimits& limits) {
  ConvertedRequest converted;
  GenerationRequest& to = converted.request;
  to.request_id = request.request_id().empty() ? NewRequestId() : request.request_id();

  const v1::ResponseOptions& response = request.response();
  if (request.has_text()) {
    RATION_RETURN_IF_ERROR(RequireTokenizer("text", model));
    RATION_ASSIGN_OR_RETURN(to.prompt_tokens, model.tokenizer->Encode(request.text(), /*add_special_tokens=*/true));
    if (response.echo_prompt()) converted.echo_text = request.text();
  } else if (request.has_messages()) {
    RATION_RETURN_IF_ERROR(RequireTokenizer("messages", model));
    RATION_ASSIGN_OR_RETURN(std::string text, RenderMessages(request.messages(), model, limits));
    RATION_ASSIGN_OR_RETURN(to.prompt_tokens, EncodeRendered(text, /*add_special_tokens=*/false, model));
    if (response.echo_prompt()) converted.echo_text = std::move(text);
  } else {
    const auto& ids = request.token_ids().ids();
    to.prompt_tokens.assign(ids.begin(), ids.end());
    if (response.echo_prompt()) RATION_RETURN_IF_ERROR(RequireTokenizer("response.echo_prompt", model));
  }

  ConvertSampling(request.sampling(), &to.sampling);
  const int64_t prompt_tokens = static_cast<int64_t>(to.prompt_tokens.size());
  ConvertStopping(request.stopping(), model.info->max_positions - prompt_tokens, &to.stopping);
  if (response.has_top_logprobs()) to.response.top_logprobs = response.top_logprobs();
  to.response.skip_special_tokens = !response.keep_special_tokens();
  to.deadline = call_deadline;
  if (request.has_time_limit_ms()) to.deadline = std::min(to.deadline, now + absl::Milliseconds(request.time_limit_ms()));

  const absl::Duration queue_time =
      request.has_queue_time_limit_ms() ? absl::Milliseconds(request.queue_time_limit_ms()) : limits.default_queue_time;
  to.queue_deadline = now + queue_time;
  to.priority = request.priority();
  if (request.has_kv_floor()) to.kv_floor = request.kv_floor();

  RATION_RETURN_IF_ERROR(ValidateRequest(to, *model.info, model.tokenizer != nullptr));
  if (response.echo_prompt() && request.has_token_ids()) {
    RATION_ASSIGN_OR_RETURN(converted.echo_text, model.tokenizer->Decode(to.prompt_tokens, to.response.skip_special_tokens));
  }
  return converted;
}

std::string NewRequestId() {
  thread_local std::mt19937_64 generator([] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }());
  return absl::StrFormat("%016x%016x", generator(), generator());
}

}  // namespace ration
