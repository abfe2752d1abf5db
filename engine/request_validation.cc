// ValidateRequest: everything about a request that can be said without knowing the load.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/engine.h"

namespace ration {
namespace {

constexpr size_t kMaxRequestIdBytes = 256;  // a client's own, behind its tenant's name
constexpr size_t kMaxStopStrings = 16;
constexpr int32_t kMaxTopLogprobs = 20;

absl::Status Invalid(absl::string_view field, absl::string_view rule, const absl::AlphaNum& value) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": must be ", rule, ", not ", value));
}

absl::Status CheckTokenIds(absl::string_view field, const std::vector<int32_t>& ids, int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return Invalid(absl::StrCat(field, "[", i, "]"), absl::StrCat("a token id in [0, ", vocab_size, ")"), ids[i]);
    }
  }
  return absl::OkStatus();
}

// NaN fails every comparison, so each rule is written as what must hold.
absl::Status CheckSampling(const SamplingParams& sampling, int64_t vocab_size) {
  if (!(sampling.temperature >= 0 && std::isfinite(sampling.temperature))) {
    return Invalid("sampling.temperature", "a finite number >= 0", sampling.temperature);
  }
  if (sampling.top_k < 0) return Invalid("sampling.top_k", ">= 0 (0 keeps all tokens)", sampling.top_k);
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) return Invalid("sampling.top_p", "in (0, 1]", sampling.top_p);
  if (!(sampling.min_p >= 0 && sampling.min_p < 1)) return Invalid("sampling.min_p", "in [0, 1)", sampling.min_p);
  if (!(sampling.repetition_penalty > 0 && std::isfinite(sampling.repetition_penalty))) {
    return Invalid("sampling.repetition_penalty", "a finite number > 0", sampling.repetition_penalty);
  }
  if (!(std::fabs(sampling.presence_penalty) <= 2)) {
    return Invalid("sampling.presence_penalty", "in [-2, 2]", sampling.presence_penalty);
  }
  if (!(std::fabs(sampling.frequency_penalty) <= 2)) {
    return Invalid("sampling.frequency_penalty", "in [-2, 2]", sampling.frequency_penalty);
  }
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (token < 0 || token >= vocab_size) {
      return Invalid("sampling.logit_bias", absl::StrCat("for token ids in [0, ", vocab_size, ")"), token);
    }
    if (!(std::fabs(bias) <= 100)) return Invalid(absl::StrCat("sampling.logit_bias[", token, "]"), "in [-100, 100]", bias);
  }
  return absl::OkStatus();
}

absl::Status CheckStopping(const StoppingParams& stopping, int64_t vocab_size, bool has_tokenizer) {
  if (stopping.max_new_tokens < 1) return Invalid("stopping.max_new_tokens", ">= 1", stopping.max_new_tokens);
  if (stopping.min_new_tokens < 0 || stopping.min_new_tokens > stopping.max_new_tokens) {
    return Invalid("stopping.min_new_tokens", absl::StrCat("in [0, max_new_tokens = ", stopping.max_new_tokens, "]"),
                   stopping.min_new_tokens);
  }
  RATION_RETURN_IF_ERROR(CheckTokenIds("stopping.stop_token_ids", stopping.stop_token_ids, vocab_size));
  if (stopping.stop_strings.size() > kMaxStopStrings) {
    return Invalid("stopping.stop_strings", absl::StrCat("at most ", kMaxStopStrings, " strings"), stopping.stop_strings.size());
  }
  for (size_t i = 0; i < stopping.stop_strings.size(); ++i) {
    if (stopping.stop_strings[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat("stopping.stop_strings[", i, "]: must not be empty"));
    }
  }
  if (!stopping.stop_strings.empty() && !has_tokenizer) {
    return absl::InvalidArgumentError(
        "stopping.stop_strings: this model has no tokenizer, so there is no text to find them in; use stop_token_ids");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRequest(const GenerationRequest& request, const ModelInfo& model, bool has_tokenizer) {
  if (request.request_id.empty() || request.request_id.size() > kMaxRequestIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat("request_id: must have 1 to ", kMaxRequestIdBytes, " bytes, not ",
                                                   request.request_id.size(), ": ", Quoted(request.request_id)));
  }
  const int64_t prompt_tokens = static_cast<int64_t>(request.prompt_tokens.size());
  if (prompt_tokens < 1) return absl::InvalidArgumentError("prompt: must have at least 1 token, not 0");
  if (prompt_tokens >= model.max_positions) {
    return absl::InvalidArgumentError(absl::StrCat("prompt: must be shorter than the context of ", model.max_positions,
                                                   " tokens, not ", prompt_tokens, " tokens"));
  }
  RATION_RETURN_IF_ERROR(CheckTokenIds("token_ids.ids", request.prompt_tokens, model.vocab_size));
  RATION_RETURN_IF_ERROR(CheckSampling(request.sampling, model.vocab_size));
  RATION_RETURN_IF_ERROR(CheckStopping(request.stopping, model.vocab_size, has_tokenizer));
  const int64_t room = model.max_positions - prompt_tokens;
  if (request.stopping.max_new_tokens > room) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stopping.max_new_tokens: must be at most ", room, " behind a prompt of ", prompt_tokens, " tokens in a context of ",
        model.max_positions, ", not ", request.stopping.max_new_tokens));
  }
  if (request.response.top_logprobs.has_value() &&
      (*request.response.top_logprobs < 0 || *request.response.top_logprobs > kMaxTopLogprobs)) {
    return Invalid("response.top_logprobs", absl::StrCat("in [0, ", kMaxTopLogprobs, "]"), *request.response.top_logprobs);
  }
  if (request.priority < -kMaxPriority || request.priority > kMaxPriority) {
    return Invalid("priority", absl::StrCat("in [", -kMaxPriority, ", ", kMaxPriority, "]"), request.priority);
  }
  if (request.kv_floor.has_value()) {
    const int largest = model.experts.group_size(model.experts.num_experts() - 1);
    // 0.333333 means 1/3.
    if (!(*request.kv_floor >= 1.0 / largest - 1e-6 && *request.kv_floor <= 1)) {
      return Invalid("kv_floor", absl::StrCat("in [1/", largest, ", 1], the cheapest expert to full KV"), *request.kv_floor);
    }
  }
  return absl::OkStatus();
}

}  // namespace ration
