// Responses as JSON for scripts. Field names are the proto's; absent fields are left out; numbers are JSON numbers (a seed may need
// 64 bits); what JSON has no number for (minus infinity) is null. One object a line.
// Layer: client. Stateless; thread-safe.
#ifndef RATION_CLIENT_JSON_OUTPUT_H_
#define RATION_CLIENT_JSON_OUTPUT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/generation.pb.h"

namespace ration {

// {"request_id", "prompt_info": {"prompt_tokens", "seed", "ratio_epoch", "text"?}?, "text", "token_ids": [],
//  "logprobs": [{"token_id", "logprob", "top": [{"token_id", "logprob"}]}]?,
//  "finish": {"reason": "length"|"stop", "stop_token_id"?, "stop_string"?, "prompt_tokens", "generated_tokens",
//             "queue_seconds", "time_to_first_token_seconds", "total_seconds",
//             "kv": {"peak_bytes", "stored_bytes", "full_bytes", "prompt_tokens_per_expert": [],
//                    "generated_tokens_per_expert": [], "ratio_epochs": [], "tokens_regrouped"}}?}
std::string ToJson(const v1::GenerateResponse& response);

// {"ids": [], "tokens": []}
std::string ToJson(const v1::TokenizeResponse& response);

// {"text"}
std::string DetokenizedToJson(const std::string& text);

// {"request_ids": []}
std::string RequestIdsToJson(const std::vector<std::string>& request_ids);

// Every field of the message; "experts": [{"group_size", "bytes_per_token", "ratio"}].
std::string ToJson(const v1::GetModelInfoResponse& info);

// {"error": {"code": "RESOURCE_EXHAUSTED", "message", "retry_after_seconds"?, "smallest_budget_bytes"?}}
std::string ErrorToJson(const absl::Status& status);

}  // namespace ration

#endif  // RATION_CLIENT_JSON_OUTPUT_H_
