// One step of the engine core, phase by phase. The order matters: timers first, so that nothing is computed for a
// request that is over; admission next, so that freed pages are used in the same step; delivery last.
#include <ATen/core/Tensor.h>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/engine_core.h"

namespace ration {

bool EngineCore::Step() {
  const absl::Time start = clock_->Now();
  scheduler_->AdvanceTo(start);
  ExpireTimers(start);
  if (pending_.has_value()) ContinueBudgetChange(start);
  const double regroup_before = stats_.regroup_seconds.sum;
  const absl::Time control = clock_->Now();
  GovernorDecision decision;
  if (options_.budget_policy == BudgetPolicy::kGovernor) decision = Govern(control);
  AdmitWaiting(decision);
  if (options_.budget_policy == BudgetPolicy::kGovernor) RegroupAhead(decision);
  const SchedulerOutput& plan = PlanWithRoom(start);
  if (plan.sequences.empty()) {
    UpdateGauges(start);
    return false;
  }
  const double regrouping = stats_.regroup_seconds.sum - regroup_before;
  stats_.control_seconds.Observe(absl::ToDoubleSeconds(clock_->Now() - control) - regrouping);
  BuildBatch(plan);
  const absl::StatusOr<at::Tensor> logits = model_->Forward(batch_, cache_);
  const absl::Status status = logits.ok() ? CheckLogits(*logits) : logits.status();
  const absl::Time computed = clock_->Now();
  if (status.ok()) {
    BookForward(plan);
    SampleAndDeliver(plan, *logits, computed);
  } else {
    FailStep(plan, status, computed);
  }
  model_->DrainScoreHistogram(stats_.router_scores);
  const absl::Time end = clock_->Now();
  last_step_ = end - start;
  ++stats_.steps;
  stats_.step_tokens.Observe(static_cast<double>(plan.num_tokens));
  stats_.step_seconds.Observe(absl::ToDoubleSeconds(end - start));
  UpdateGauges(end);
  return true;
}

void EngineCore::ExpireTimers(absl::Time now) {
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    Sequence* const sequence = timers_.begin()->second;
    const bool deadline = sequence->paused_since + options_.slow_reader_timeout > now;
    FinishEarly(sequence, deadline ? FinishReason::kDeadline : FinishReason::kSlowReader, now);
  }
}

void EngineCore::StartAdmitted(const SchedulerOutput& plan, absl::Time now) {
  for (SchedulableSequence* admitted : plan.admitted) {
    Sequence* const sequence = SequenceOf(admitted);
    const bool first = sequence->started() == absl::InfiniteFuture();
    sequence->Start(tokenizer_, eos_token_ids_, spec_.num_layers(), model_->info().vocab_size, now);
    UpdateTimer(sequence);
    if (!first) continue;  // preempted and back
    stats_.queue_seconds.Observe(absl::ToDoubleSeconds(now - sequence->submitted()));
    if (last_admission_ != absl::InfinitePast()) {
      admission_interval_ += kForecastWeight * (now - last_admission_ - admission_interval_);
    }
    last_admission_ = now;
  }
  scheduler_->ClearAdmitted();
  // While nobody waits, the time to the next admission says how seldom requests come, not how seldom places become free.
  if (scheduler_->queue().empty()) last_admission_ = absl::InfinitePast();
}

void EngineCore::BuildBatch(const SchedulerOutput& plan) {
  batch_.sequences.clear();
  for (const ScheduledSequence& scheduled : plan.sequences) {
    Sequence* const sequence = SequenceOf(scheduled.sequence);
    SequenceStep& step = batch_.sequences.emplace_back();
    step.kv = sequence->kv.get();
    step.routing = &sequence->routing();
    step.router = sequence->router();
    step.tokens = sequence->NextTokens(scheduled.num_tokens);
    step.start_position = sequence->computed_tokens;
    step.phase = scheduled.prefill ? Phase::kPrefill : Phase::kDecode;
    // Only the last token there is, of the prompt or generated, is followed by a token to choose.
    step.num_logits = sequence->ReachesEnd(scheduled.num_tokens) ? 1 : 0;
  }
}

absl::Status EngineCore::CheckLogits(const at::Tensor& logits) const {
  const int64_t rows = batch_.num_logits();
  if (rows == 0) return absl::OkStatus();
  const int64_t vocab_size = model_->info().vocab_size;
  if (logits.dim() == 2 && logits.size(0) == rows && logits.size(1) == vocab_size && logits.is_contiguous() &&
      logits.scalar_type() == at::kFloat) {
    return absl::OkStatus();
  }
  return absl::InternalError(
      absl::StrCat("the model returned no contiguous float32 logits [", rows, ", ", vocab_size, "]"));
}

void EngineCore::BookForward(const SchedulerOutput& plan) {
  std::array<std::array<int64_t, kMaxExperts>, 2> routed{};  // [phase][expert]
  for (const ScheduledSequence& scheduled : plan.sequences) {
    Sequence* const sequence = SequenceOf(scheduled.sequence);
    if (scheduled.prefill && sequence->recomputing()) {
      stats_.recomputed_tokens += scheduled.num_tokens;
    } else if (scheduled.prefill) {
      stats_.prompt_tokens += scheduled.num_tokens;
      scheduler_->BookPrefill(*sequence, scheduled.num_tokens);
      if (!stats_.tenants.empty()) stats_.tenants[sequence->tenant].prompt_tokens += scheduled.num_tokens;
    }
    sequence->AdvanceComputed(scheduled.num_tokens, routed[scheduled.prefill ? 0 : 1]);
    cache_.FreeExpired(*sequence->kv, sequence->computed_tokens);
  }
  for (int e = 0; e < spec_.num_experts(); ++e) {
    for (int phase = 0; phase < 2; ++phase) stats_.routed_token_layers[e][phase] += routed[phase][e];
  }
}

void EngineCore::SampleAndDeliver(const SchedulerOutput& plan, const at::Tensor& logits, absl::Time now) {
  const int64_t vocab_size = model_->info().vocab_size;
  const float* row = batch_.num_logits() > 0 ? logits.data_ptr<float>() : nullptr;
  for (size_t i = 0; i < plan.sequences.size(); ++i) {
    if (batch_.sequences[i].num_logits == 0) continue;
    Sequence* const sequence = SequenceOf(plan.sequences[i].sequence);
    GenerationDelta delta;
    const absl::Time last_token = sequence->last_token();
    std::optional<Ending> ending =
        sequence->Sample(absl::MakeConstSpan(row, static_cast<size_t>(vocab_size)), now, delta);
    row += vocab_size;

    ++stats_.generated_tokens;
    scheduler_->BookGenerated(*sequence);
    if (!stats_.tenants.empty()) ++stats_.tenants[sequence->tenant].generated_tokens;
    if (last_token == absl::InfiniteFuture()) {
      stats_.time_to_first_token.Observe(absl::ToDoubleSeconds(now - sequence->submitted()));
    } else {
      stats_.inter_token_latency.Observe(absl::ToDoubleSeconds(now - last_token));
    }
    if (ending.has_value()) {
      Finish(sequence, *std::move(ending), std::move(delta), now);
      continue;
    }
    sequence->OpenDelta(delta);
    if (!sequence->sink()->OnDelta(std::move(delta))) {
      sequence->paused = true;
      sequence->paused_since = now;
      UpdateTimer(sequence);
    }
  }
}

void EngineCore::FailStep(const SchedulerOutput& plan, const absl::Status& error, absl::Time now) {
  for (const ScheduledSequence& scheduled : plan.sequences) {
    Sequence* const sequence = SequenceOf(scheduled.sequence);
    GenerationDelta delta;
    sequence->FlushText(delta);
    Ending ending;
    ending.reason = FinishReason::kError;
    ending.status = absl::InternalError(absl::StrCat("the model failed: ", error.message()));
    Finish(sequence, std::move(ending), std::move(delta), now);
  }
}

}  // namespace ration
