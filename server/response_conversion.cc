#include "server/response_conversion.h"

#include <string>
#include <utility>

#include "engine/base/retry_hint.h"

namespace ration {
namespace {

void ConvertFinish(const FinishInfo& from, v1::Finish* to) {
  to->set_reason(from.reason == FinishReason::kLength ? v1::FINISH_REASON_LENGTH : v1::FINISH_REASON_STOP);
  if (from.stop_token_id.has_value()) to->set_stop_token_id(*from.stop_token_id);
  if (from.stop_string.has_value()) to->set_stop_string(*from.stop_string);
  to->set_prompt_tokens(from.prompt_tokens);
  to->set_generated_tokens(from.generated_tokens);
  to->set_queue_seconds(absl::ToDoubleSeconds(from.queue_time));
  to->set_time_to_first_token_seconds(absl::ToDoubleSeconds(from.time_to_first_token));
  to->set_total_seconds(absl::ToDoubleSeconds(from.total_time));
  v1::KvAccounting& kv = *to->mutable_kv();
  kv.set_peak_bytes(from.kv.peak_kv_bytes);
  kv.set_stored_bytes(from.kv.stored_kv_bytes);
  kv.set_full_bytes(from.kv.full_kv_bytes);
  for (double tokens : from.kv.prompt_tokens_per_expert) kv.add_prompt_tokens_per_expert(tokens);
  for (double tokens : from.kv.generated_tokens_per_expert) kv.add_generated_tokens_per_expert(tokens);
  for (int64_t epoch : from.kv.ratio_epochs) kv.add_ratio_epochs(epoch);
  kv.set_tokens_regrouped(from.kv.tokens_regrouped);
}

std::string MessageOr(const absl::Status& status, const char* fallback) {
  return status.message().empty() ? fallback : std::string(status.message());
}

}  // namespace

void AppendDelta(GenerationDelta delta, v1::GenerateResponse* response) {
  if (delta.prompt.has_value()) {
    v1::PromptInfo& info = *response->mutable_prompt_info();
    info.set_prompt_tokens(delta.prompt->prompt_tokens);
    info.set_seed(delta.prompt->seed);
    info.set_ratio_epoch(delta.prompt->ratio_epoch);
  }
  response->mutable_text()->append(delta.text);
  response->mutable_token_ids()->Add(delta.token_ids.begin(), delta.token_ids.end());
  for (const TokenLogprob& from : delta.logprobs) {
    v1::TokenLogprob& to = *response->add_logprobs();
    to.set_token_id(from.token_id);
    to.set_logprob(from.logprob);
    for (const auto& [token_id, logprob] : from.top) {
      v1::TopToken& top = *to.add_top();
      top.set_token_id(token_id);
      top.set_logprob(logprob);
    }
  }
  if (delta.finish.has_value() && FinishStatus(*delta.finish).ok()) ConvertFinish(*delta.finish, response->mutable_finish());
}

absl::Status FinishStatus(const FinishInfo& finish) {
  switch (finish.reason) {
    case FinishReason::kLength:
    case FinishReason::kStop:
      return absl::OkStatus();
    case FinishReason::kAborted:
      return absl::CancelledError(MessageOr(finish.status, "the request was aborted"));
    case FinishReason::kDeadline:
      return absl::DeadlineExceededError(MessageOr(finish.status, "the request's time limit passed"));
    case FinishReason::kSlowReader:
      return absl::ResourceExhaustedError(MessageOr(finish.status, "the client did not read its stream for too long"));
    case FinishReason::kShutdown:
      return absl::UnavailableError(MessageOr(finish.status, "the server is shutting down"));
    case FinishReason::kShed:
      return WithRetryHint(
          absl::ResourceExhaustedError(MessageOr(finish.status, "ended to make room for a smaller KV budget")),
          absl::Seconds(1));
    case FinishReason::kCount:
      break;
    case FinishReason::kError:
      if (!finish.status.ok()) return finish.status;
      return absl::InternalError("the engine failed to run the request");
  }
  return absl::InternalError("unknown finish reason");
}

int64_t ApproximateBytes(const GenerationDelta& delta) {
  int64_t bytes = 64 + static_cast<int64_t>(delta.text.size() + delta.token_ids.size() * sizeof(int32_t));
  for (const TokenLogprob& logprob : delta.logprobs) bytes += 24 + 16 * static_cast<int64_t>(logprob.top.size());
  return bytes;
}

bool HasContent(const v1::GenerateResponse& response) {
  return response.has_prompt_info() || response.has_finish() || !response.text().empty() || response.token_ids_size() > 0 ||
         response.logprobs_size() > 0;
}

}  // namespace ration
