// The mutable run state of one request: its tokens, sampler, stop rules, text, routing counts and times. The
// scheduler's part is the base; which step it is in, and when it must end for a reason outside itself, is the engine
// core's business. Layer: engine. Used only by the engine thread.
//
// What a stream shows and what it counts:
//   - The token that ends a sequence (end-of-text or a stop token) is counted and is in token_ids; its text is never
//   shown.
//   - Text cut away by a stop string is missing from `text` only: the tokens that spelt it are in token_ids.
//   - The last generated token is never put through the model: nothing would attend to it.
#ifndef RATION_ENGINE_SEQUENCE_H_
#define RATION_ENGINE_SEQUENCE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/model/forward_batch.h"
#include "engine/request.h"
#include "engine/router/decode_router.h"
#include "engine/sampling/sampler.h"
#include "engine/sampling/stop_checker.h"
#include "engine/scheduler/scheduler_output.h"
#include "engine/tokenizer/incremental_detokenizer.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

// Why a sequence ends.
struct Ending {
  FinishReason reason = FinishReason::kLength;
  absl::Status status;
  std::optional<int32_t> stop_token_id;
  std::optional<std::string> stop_string;
};

class Sequence : public SchedulableSequence {
 public:
  // A governor may change the ratio often; what a client is told of it is bounded.
  static constexpr size_t kMaxRatioEpochs = 256;

  // `request` is valid; `seed` is the one in use; `serial` is unique and ascends with arrival.
  Sequence(GenerationRequest request, OutputSink* sink, uint64_t seed, int64_t serial, absl::Time now);

  // Makes what only a running sequence needs, so that waiting ones stay small. `tokenizer` may be null: then there is
  // no text.
  void Start(const Tokenizer* tokenizer, const std::vector<int32_t>& eos_token_ids, int64_t num_layers,
             int64_t vocab_size, absl::Time now);

  // The tokens for the model's next step. REQUIRES: running; computed_tokens + count <= the tokens there are.
  absl::Span<const int32_t> NextTokens(int64_t count) const {
    return {tokens_.data() + computed_tokens, static_cast<size_t>(count)};
  }
  SequenceRouting& routing() { return *routing_; }
  const SequenceRouting& routing() const { return *routing_; }
  const DecodeRouter* router() const { return router_.get(); }
  // Whether the model's next `count` tokens are all there are, so that the one after them is to be chosen.
  bool ReachesEnd(int64_t count) const { return computed_tokens + count == static_cast<int64_t>(tokens_.size()); }
  // Routes the tokens to come by `router`, whose ratio has this epoch. keep_debts as Rebase. REQUIRES: running.
  void SetRouter(std::shared_ptr<const DecodeRouter> router, int64_t ratio_epoch, bool keep_debts);
  // Its pages are to be taken: what was put through the model so far has to be computed again.
  void PrepareRecompute();

  // Books a step of the model: `count` tokens were put through it and cached. Adds the tokens routed, per expert and
  // summed over layers, to `routed`. What the request is told counts a token once, where it was routed first.
  void AdvanceComputed(int64_t count, std::array<int64_t, kMaxExperts>& routed);
  // Chooses the next token from its logits and adds it, and the text that became certain, to `delta`. Returns how the
  // sequence ends if it ends with this token.
  std::optional<Ending> Sample(absl::Span<const float> logits, absl::Time now, GenerationDelta& delta);
  // Adds the text held back so far. Call once, when the sequence ends for a reason that Sample did not return.
  void FlushText(GenerationDelta& delta);
  // Adds PromptInfo to the first piece of the stream.
  void OpenDelta(GenerationDelta& delta);

  // What the last piece says. REQUIRES: the pages are still held, if there were any.
  FinishInfo MakeFinishInfo(Ending ending, const KvCacheSpec& spec, absl::Time now) const;

  const GenerationRequest& request() const { return request_; }  // its prompt_tokens have moved to this object
  const std::string& id() const { return request_.request_id; }
  OutputSink* sink() const { return sink_; }
  int64_t serial() const { return serial_; }
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t generated_tokens() const { return static_cast<int64_t>(tokens_.size()) - prompt_tokens_; }
  // Tokens that may still be put through the model: of the prompt, and of what it may yet generate.
  int64_t prefill_left() const { return std::max<int64_t>(0, prefill_tokens - computed_tokens); }
  int64_t generation_left() const { return request_.stopping.max_new_tokens - generated_tokens(); }
  // KV fraction below which its tokens never go, and the ratio that means, fixed when it came.
  double kv_floor = 0;
  Ratio floor_ratio;
  int64_t least_pages = 0;       // the smallest pool in which it can run alone
  bool routed_at_floor = false;  // in the last step, because memory was short
  int64_t ratio_epoch() const { return ratio_epoch_; }

  absl::Time submitted() const { return submitted_; }
  absl::Time started() const { return started_; }          // InfiniteFuture before Start
  absl::Time first_token() const { return first_token_; }  // InfiniteFuture before the first token
  absl::Time last_token() const { return last_token_; }

  // The moment at which the core must look after this sequence whatever the model does (its deadline, or a slow
  // reader's limit).
  absl::Time timer = absl::InfiniteFuture();
  absl::Time paused_since = absl::InfiniteFuture();

 private:
  // Shows `text` as far as no stop string can still match.
  void AddText(absl::string_view text, bool may_stop, GenerationDelta& delta);

  GenerationRequest request_;
  OutputSink* const sink_;
  const uint64_t seed_;
  const int64_t serial_;
  const int64_t prompt_tokens_;
  std::vector<int32_t> tokens_;  // prompt, then generated
  bool opened_ = false;

  // From Start on.
  std::optional<Sampler> sampler_;
  std::optional<StopChecker> stop_;
  std::optional<IncrementalDetokenizer> detokenizer_;
  std::optional<SequenceRouting> routing_;
  std::shared_ptr<const DecodeRouter> router_;
  int64_t ratio_epoch_ = 0;  // of router_
  int64_t num_layers_ = 0;

  std::array<int64_t, kMaxExperts> prompt_routed_{};     // summed over layers, without what was computed again
  std::array<int64_t, kMaxExperts> generated_routed_{};  // summed over layers, without what was computed again
  std::array<int64_t, kMaxExperts> booked_{};            // appended to the pages held now, as of the last AdvanceComputed
  std::vector<int64_t> ratio_epochs_;                    // that routed its tokens; the last kMaxRatioEpochs
  int64_t regrouped_before_ = 0;                         // summed over layers, in pages since taken
  int64_t peak_pages_ = 0;

  const absl::Time submitted_;
  absl::Time started_ = absl::InfiniteFuture();
  absl::Time first_token_ = absl::InfiniteFuture();
  absl::Time last_token_ = absl::InfiniteFuture();
};

}  // namespace ration

#endif  // RATION_ENGINE_SEQUENCE_H_
