#include "engine/sequence.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"

namespace ration {

Sequence::Sequence(GenerationRequest request, OutputSink* sink, uint64_t seed, int64_t serial, absl::Time now)
    : request_(std::move(request)),
      sink_(sink),
      seed_(seed),
      serial_(serial),
      prompt_tokens_(static_cast<int64_t>(request_.prompt_tokens.size())),
      tokens_(std::move(request_.prompt_tokens)),
      submitted_(now) {
  prefill_tokens = prompt_tokens_;
  priority = request_.priority;
}

void Sequence::Start(const Tokenizer* tokenizer, const std::vector<int32_t>& eos_token_ids, int64_t num_layers,
                     int64_t vocab_size, absl::Time now) {
  num_layers_ = num_layers;
  routing_.emplace(num_layers);
  if (started_ != absl::InfiniteFuture()) return;  // it ran before and goes on with its sampler and text
  started_ = now;
  sampler_.emplace(request_.sampling, tokens_, seed_, vocab_size);
  stop_.emplace(request_.stopping, eos_token_ids);
  if (tokenizer != nullptr) detokenizer_.emplace(tokenizer, tokens_, request_.response.skip_special_tokens);
}

void Sequence::SetRouter(std::shared_ptr<const DecodeRouter> router, int64_t ratio_epoch, bool keep_debts) {
  if (router_ != nullptr && (router_->ratio() != router->ratio() || !keep_debts)) {
    for (ExpertCounts& counts : routing_->counts) {
      counts = Rebase(router_->ratio(), router->ratio(), counts, keep_debts);
    }
  }
  router_ = std::move(router);
  ratio_epoch_ = ratio_epoch;
}

void Sequence::PrepareRecompute() {
  recompute_tokens = std::max(recompute_tokens, computed_tokens);
  prefill_tokens = std::max(prefill_tokens, recompute_tokens);
  regrouped_before_ += kv->regrouped_token_layers();
  booked_.fill(0);
  router_ = nullptr;
}

void Sequence::AdvanceComputed(int64_t count, std::array<int64_t, kMaxExperts>& routed) {
  std::array<int64_t, kMaxExperts>& of_phase = in_prefill() ? prompt_routed_ : generated_routed_;
  for (int e = 0; e < kMaxExperts; ++e) {
    const int64_t more = kv->appended_token_layers(e) - booked_[e];
    booked_[e] += more;
    routed[e] += more;
    if (!recomputing()) of_phase[e] += more;
  }
  if (ratio_epochs_.empty() || ratio_epochs_.back() != ratio_epoch_) {
    if (ratio_epochs_.size() == kMaxRatioEpochs) ratio_epochs_.erase(ratio_epochs_.begin());
    ratio_epochs_.push_back(ratio_epoch_);
  }
  computed_tokens += count;
  peak_pages_ = std::max(peak_pages_, kv->pages_held());
}

std::optional<Ending> Sequence::Sample(absl::Span<const float> logits, absl::Time now, GenerationDelta& delta) {
  const StoppingParams& stopping = request_.stopping;
  const int64_t before = generated_tokens();
  TokenLogprob* logprob = nullptr;
  int32_t top_n = 0;
  if (request_.response.top_logprobs.has_value()) {
    top_n = *request_.response.top_logprobs;
    logprob = &delta.logprobs.emplace_back();
  }
  const int32_t token =
      sampler_->Sample(logits, prompt_tokens_ + before, stop_->ForbiddenTokens(before), top_n, logprob);
  RATION_CHECK(token >= 0 && token < static_cast<int64_t>(logits.size()));
  tokens_.push_back(token);
  delta.token_ids.push_back(token);
  if (before == 0) first_token_ = now;
  last_token_ = now;

  if (before >= stopping.min_new_tokens && stop_->IsStopToken(token)) {
    FlushText(delta);
    return Ending{FinishReason::kStop, absl::OkStatus(), token, std::nullopt};
  }
  const int64_t generated = before + 1;
  const bool may_stop = generated >= stopping.min_new_tokens;
  const bool full = generated >= stopping.max_new_tokens;
  if (detokenizer_.has_value()) {
    AddText(detokenizer_->Append(token), may_stop, delta);
    // The last bytes of the text may complete a stop string.
    if (full && !stop_->matched().has_value()) AddText(detokenizer_->Flush(), may_stop, delta);
    if (stop_->matched().has_value())
      return Ending{FinishReason::kStop, absl::OkStatus(), std::nullopt, stop_->matched()};
  }
  if (!full) return std::nullopt;
  delta.text += stop_->Flush();
  return Ending{FinishReason::kLength, absl::OkStatus(), std::nullopt, std::nullopt};
}

void Sequence::AddText(absl::string_view text, bool may_stop, GenerationDelta& delta) {
  delta.text += stop_->Append(text, may_stop);
}

void Sequence::FlushText(GenerationDelta& delta) {
  if (!detokenizer_.has_value()) return;
  AddText(detokenizer_->Flush(), /*may_stop=*/false, delta);
  delta.text += stop_->Flush();
}

void Sequence::OpenDelta(GenerationDelta& delta) {
  if (opened_) return;
  opened_ = true;
  delta.prompt = PromptInfo{prompt_tokens_, seed_, ratio_epoch_};
}

FinishInfo Sequence::MakeFinishInfo(Ending ending, const KvCacheSpec& spec, absl::Time now) const {
  FinishInfo info;
  info.reason = ending.reason;
  info.status = std::move(ending.status);
  info.stop_token_id = ending.stop_token_id;
  info.stop_string = std::move(ending.stop_string);
  info.prompt_tokens = prompt_tokens_;
  info.generated_tokens = generated_tokens();
  info.total_time = now - submitted_;
  info.queue_time = std::min(started_, now) - submitted_;
  if (first_token_ != absl::InfiniteFuture()) info.time_to_first_token = first_token_ - submitted_;

  KvAccounting& accounting = info.kv;
  const double layers = static_cast<double>(spec.num_layers());
  for (int e = 0; e < spec.num_experts(); ++e) {
    accounting.prompt_tokens_per_expert.push_back(static_cast<double>(prompt_routed_[e]) / layers);
    accounting.generated_tokens_per_expert.push_back(static_cast<double>(generated_routed_[e]) / layers);
  }
  accounting.peak_kv_bytes = peak_pages_ * spec.page_bytes();
  accounting.full_kv_bytes = spec.SequenceBytes(0, computed_tokens);
  if (kv != nullptr) accounting.stored_kv_bytes = kv->stored_bytes();
  const int64_t regrouped = regrouped_before_ + (kv != nullptr ? kv->regrouped_token_layers() : 0);
  accounting.tokens_regrouped = regrouped / spec.num_layers();
  accounting.ratio_epochs = ratio_epochs_;
  return info;
}

}  // namespace ration
