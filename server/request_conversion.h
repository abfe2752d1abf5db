// From the API's messages to the engine's terms: GenerateRequest to GenerationRequest, with every field's presence respected.
// Checks here what only the wire has (sizes, counts, presence); what a value means is checked by the engine's ValidateRequest,
// whose messages use the same field names.
// Layer: server. Stateless; thread-safe.
#ifndef RATION_SERVER_REQUEST_CONVERSION_H_
#define RATION_SERVER_REQUEST_CONVERSION_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/chat/chat_template.h"
#include "engine/model/model_info.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"
#include "proto/generation.pb.h"

namespace ration {

// How much of anything one request may carry.
struct RequestLimits {
  int64_t max_prompt_bytes = int64_t{1} << 20;
  int64_t max_request_id_bytes = 128;
  int64_t max_stop_strings = 16;
  int64_t max_stop_string_bytes = 256;
  int64_t max_stop_token_ids = 256;
  int64_t max_logit_bias_entries = 1024;
  int64_t max_abort_ids = 1024;
  int64_t max_messages = 4096;
  absl::Duration default_queue_time = absl::InfiniteDuration();  // of requests without queue_time_limit_ms
};

// InvalidArgument names field, limit and value. Cheap: runs before anything is tokenised.
absl::Status CheckLimits(const v1::GenerateRequest& request, const RequestLimits& limits);
absl::Status CheckLimits(const v1::AbortRequest& request, const RequestLimits& limits);
absl::Status CheckTextLength(absl::string_view field, absl::string_view text, const RequestLimits& limits);
absl::Status CheckIdCount(absl::string_view field, int64_t count, const RequestLimits& limits);

struct ConvertedRequest {
  GenerationRequest request;
  std::optional<std::string> echo_text;  // the prompt's text, if it was asked for
};

// The model as requests see it. Pointers are borrowed.
struct ModelView {
  const ModelInfo* info = nullptr;
  const Tokenizer* tokenizer = nullptr;  // nullptr: the model has none that can be read
  std::string no_tokenizer_reason;       // then: why
  const ChatTemplate* chat_template = nullptr;  // nullptr: the model has none that can be used
  std::string no_chat_template_reason;          // then: why
};

// Tokenises and converts. `now` is the engine's Clock, from which the time limits count; `call_deadline` is on the same clock.
// InvalidArgument names the field, the limit and the value; FailedPrecondition if text needs a tokenizer and there is none.
absl::StatusOr<ConvertedRequest> ConvertRequest(const v1::GenerateRequest& request, const ModelView& model, absl::Time now,
                                                absl::Time call_deadline, const RequestLimits& limits = RequestLimits());

// 128 random bits in hexadecimal.
std::string NewRequestId();

// FailedPrecondition with the reason, if `model` has no tokenizer.
absl::Status RequireTokenizer(absl::string_view field, const ModelView& model);

}  // namespace ration

#endif  // RATION_SERVER_REQUEST_CONVERSION_H_
