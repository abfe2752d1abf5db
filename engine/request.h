// What a client asks for (GenerationRequest, immutable) and what it gets back, a piece at a time (GenerationDelta).
// The engine's own terms: no protobuf here. Limits are checked by ValidateRequest before anything is queued.
// Layer: engine. Plain data.
#ifndef RATION_ENGINE_REQUEST_H_
#define RATION_ENGINE_REQUEST_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/router/expert_spec.h"

namespace ration {

inline constexpr int32_t kMaxPriority = 100;

struct SamplingParams {
  float temperature = 1.0f;         // >= 0; 0 is greedy
  int32_t top_k = 0;                // >= 0; 0 keeps all
  float top_p = 1.0f;               // (0, 1]; 1 keeps all
  float min_p = 0.0f;               // [0, 1); 0 keeps all
  float repetition_penalty = 1.0f;  // > 0; 1 is none; over prompt and generated tokens
  float presence_penalty = 0.0f;    // [-2, 2]; over generated tokens
  float frequency_penalty = 0.0f;   // [-2, 2]; over generated tokens
  std::vector<std::pair<int32_t, float>> logit_bias;  // (token id, added to its logit in [-100, 100])
  std::optional<uint64_t> seed;     // absent: chosen by the server, returned in PromptInfo
};

struct StoppingParams {
  int64_t max_new_tokens = 128;  // >= 1
  int64_t min_new_tokens = 0;    // >= 0, <= max_new_tokens; end-of-text and stops are held off until then
  std::vector<int32_t> stop_token_ids;
  std::vector<std::string> stop_strings;  // non-empty UTF-8
  bool include_stop_string = false;       // keep the stop string in the text
  bool ignore_eos = false;
};

struct ResponseParams {
  std::optional<int32_t> top_logprobs;  // absent: none; 0: the chosen token's; n: and the n likeliest (<= 20)
  bool skip_special_tokens = true;      // leave special tokens out of the text
};

struct GenerationRequest {
  std::string request_id;
  std::string tenant;                  // whose it is, by the caller's token (TenantQuota); "" without one
  std::vector<int32_t> prompt_tokens;  // >= 1
  SamplingParams sampling;
  StoppingParams stopping;
  ResponseParams response;
  absl::Time deadline = absl::InfiniteFuture();        // on the engine's Clock
  absl::Time queue_deadline = absl::InfiniteFuture();  // kDeadline if it still waits then
  int32_t priority = 0;                                // [-kMaxPriority, kMaxPriority]; higher goes first and is made cheaper last
  std::optional<double> kv_floor;  // KV fraction, [1 / largest group size, 1]; absent: the policy's floor at submission
};

struct TokenLogprob {
  int32_t token_id = 0;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // likeliest first
};

enum class FinishReason {
  kStop,         // end-of-text, a stop token or a stop string
  kLength,       // max_new_tokens or the context is full
  kAborted,      // Abort or client gone
  kDeadline,     // the request's deadline passed
  kSlowReader,   // the client did not read for too long
  kShutdown,     // the server ended before the request did
  kShed,         // ended to make room for a smaller budget
  kError,        // see FinishInfo::status
  kCount,        // how many there are; never a reason
};

// What the request cost in KV memory.
struct KvAccounting {
  int64_t peak_kv_bytes = 0;       // pages held at most, in bytes
  int64_t stored_kv_bytes = 0;     // bytes of the tokens in those pages at the end
  int64_t full_kv_bytes = 0;       // what the same tokens take at full KV
  std::vector<double> prompt_tokens_per_expert;     // mean over the layers
  std::vector<double> generated_tokens_per_expert;  // mean over the layers
  std::vector<int64_t> ratio_epochs;  // epochs of the ratio that routed this request's tokens
  int64_t tokens_regrouped = 0;
};

struct FinishInfo {
  FinishReason reason = FinishReason::kLength;
  absl::Status status;  // why, for kDeadline, kSlowReader, kShutdown, kError; OK for the rest
  std::optional<int32_t> stop_token_id;    // the end-of-text or stop token that ended it
  std::optional<std::string> stop_string;  // the stop string that ended it
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  absl::Duration queue_time;           // submit to first scheduled
  absl::Duration time_to_first_token;  // submit to first token; zero if there was none
  absl::Duration total_time;
  KvAccounting kv;
};

struct PromptInfo {
  int64_t prompt_tokens = 0;
  uint64_t seed = 0;
  int64_t ratio_epoch = 0;
};

// One piece of a stream: prompt in the first only, finish in the last only. The first comes when prefill ends.
struct GenerationDelta {
  std::optional<PromptInfo> prompt;
  std::string text;                 // whole UTF-8 characters
  std::vector<int32_t> token_ids;   // generated since the last piece; text may lag behind
  std::vector<TokenLogprob> logprobs;  // one a token id, if asked for
  std::optional<FinishInfo> finish;
};

// Receives one request's pieces, on the engine thread. Must not block.
class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // Takes the piece. Returns false when the receiver's buffer is full: the engine then pauses the sequence (it keeps its pages)
  // until EngineRunner::Resume, and ends it with kSlowReader if that takes too long. No call follows a piece with `finish`.
  virtual bool OnDelta(GenerationDelta delta) = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_REQUEST_H_
