#include "engine/engine_core.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/byte_size.h"
#include "engine/base/check.h"
#include "engine/base/quote.h"
#include "engine/base/retry_hint.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

// Bounds of the retry hint for a full queue, which is the mean time between admissions.
constexpr absl::Duration kLeastRetryAfter = absl::Milliseconds(100), kMostRetryAfter = absl::Seconds(60);

// Steele, Lea and Flood's SplitMix64: neighbouring counters give unrelated seeds.
uint64_t SplitMix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

absl::Status CheckFits(const Engine::Options& options, const KvCacheSpec& spec, const ModelInfo& info,
                       const RouterCache& routers) {
  if (options.num_pages < 1 || options.num_pages > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_pages: must be in [1, ", std::numeric_limits<int32_t>::max(), "], not ", options.num_pages));
  }
  if (options.slow_reader_timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("slow_reader_timeout: must be > 0, not ", absl::FormatDuration(options.slow_reader_timeout)));
  }
  if (spec.num_layers() != info.num_layers || !(spec.experts() == info.experts) ||
      routers.num_experts() != info.experts.num_experts()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model has ", info.num_layers, " layers and ", info.experts.num_experts(), " experts; the KV cache is for ",
        spec.num_layers(), " and ", spec.num_experts(), ", the routers for ", routers.num_experts(), " experts"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const Options& options, const KvCacheSpec& spec, Model* model,
                                                       RouterCache* routers, KvStore* store,
                                                       const Tokenizer* tokenizer, const Clock* clock) {
  RATION_RETURN_IF_ERROR(CheckFits(options, spec, model->info(), *routers));
  auto core = std::make_unique<EngineCore>(options, spec, model, routers, store, tokenizer, clock);
  RATION_RETURN_IF_ERROR(core->Init());
  return std::unique_ptr<Engine>(std::move(core));
}

EngineCore::EngineCore(const Options& options, const KvCacheSpec& spec, Model* model, RouterCache* routers,
                       KvStore* store, const Tokenizer* tokenizer, const Clock* clock)
    : options_(options),
      spec_(spec),
      model_(model),
      routers_(routers),
      tokenizer_(tokenizer),
      clock_(clock),
      store_(store),
      cache_(spec, options.num_pages),
      budget_(options.num_pages),
      regrouper_(&cache_, store) {
  for (int32_t id : options.eos_token_ids) {
    if (id >= 0 && id < model->info().vocab_size) eos_token_ids_.push_back(id);
  }
  stats_.kv_page_bytes = spec.page_bytes();
  stats_.num_experts = spec.num_experts();
  stats_.num_layers = spec.num_layers();
  stats_.budget_policy = options.budget_policy;
}

absl::Status EngineCore::Init() {
  BudgetController::Options control;
  control.experts = spec_.experts();
  control.policy = options_.policy;
  control.ratio = options_.ratio;
  control.fixed = options_.budget_policy != BudgetPolicy::kGovernor;
  RATION_ASSIGN_OR_RETURN(controller_, BudgetController::Create(control));
  Scheduler::Options options;
  options.routing_window = model_->info().routing_window;
  options.max_batched_tokens = options_.max_batched_tokens;
  options.max_running_requests = options_.max_running_requests;
  options.max_queued_requests = controller_->policy().max_queued_requests;
  options.max_overtakes = options_.max_overtakes;
  options.priority_aging = options_.priority_aging;
  RATION_ASSIGN_OR_RETURN(scheduler_, Scheduler::Create(options, &cache_, &budget_));
  ApplyPolicy();
  return absl::OkStatus();
}

EngineCore::~EngineCore() {
  if (scheduler_ == nullptr) return;
  while (!sequences_.empty()) Abort(std::string(sequences_.begin()->first), FinishReason::kShutdown);
  if (pending_.has_value()) pending_->done(absl::AbortedError("the engine ended before the budget was reached"));
}

absl::Status EngineCore::Submit(GenerationRequest request, OutputSink* sink) {
  RATION_CHECK(sink != nullptr);
  const absl::Time now = clock_->Now();
  const int32_t tenant = scheduler_->ledger().Find(request.tenant);
  const auto reject = [this, tenant](RejectReason reason) { BookRejection(tenant, reason); };
  // The cheap check first: a burst must not buy itself work by being refused late.
  const Policy& policy = controller_->policy();
  const RequestQueue& queue = scheduler_->queue();
  const int64_t prompt_tokens = static_cast<int64_t>(request.prompt_tokens.size());
  const absl::Duration retry_after = std::clamp(admission_interval_, kLeastRetryAfter, kMostRetryAfter);
  if (queue.size() >= policy.max_queued_requests) {
    reject(RejectReason::kQueueFull);
    return WithRetryHint(absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", policy.max_queued_requests,
                                                                   " requests are waiting, the limit")),
                         retry_after);
  }
  if (!queue.empty() && queue.waiting_tokens() + prompt_tokens > policy.max_queued_tokens) {
    reject(RejectReason::kQueueTokens);
    return WithRetryHint(
        absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", queue.waiting_tokens(),
                                                  " prompt tokens are waiting, this request has ", prompt_tokens,
                                                  ", the limit is ", policy.max_queued_tokens)),
        retry_after);
  }
  const TenantQuota& quota = scheduler_->ledger().quota(tenant);
  const int64_t waiting_of_tenant = static_cast<int64_t>(queue.Line(tenant).size());
  if (quota.max_queued_requests.has_value() && waiting_of_tenant >= *quota.max_queued_requests) {
    reject(RejectReason::kTenantQueue);
    return WithRetryHint(
        absl::ResourceExhaustedError(absl::StrCat("tenant quota max_queued_requests: ", waiting_of_tenant, " requests of tenant ",
                                                  Quoted(quota.tenant), " are waiting, the limit is ", *quota.max_queued_requests)),
        std::clamp(scheduler_->ledger().RefillTime(tenant) - now, retry_after, kMostRetryAfter));
  }
  const ModelInfo& model = model_->info();
  if (absl::Status valid = ValidateRequest(request, model, tokenizer_ != nullptr); !valid.ok()) {
    const bool too_long =
        prompt_tokens >= model.max_positions || request.stopping.max_new_tokens > model.max_positions - prompt_tokens;
    if (too_long) reject(RejectReason::kContextTooLong);
    return valid;
  }
  if (sequences_.contains(request.request_id)) {
    return absl::AlreadyExistsError(absl::StrCat("request_id: a live request has the id ", Quoted(request.request_id)));
  }
  const double kv_floor = std::max(policy.ladder.lowest(), request.kv_floor.value_or(policy.floor));
  const Ratio floor_ratio = policy.ladder.At(kv_floor);
  const int64_t tokens = prompt_tokens + request.stopping.max_new_tokens;
  const int64_t pages = PagesToReserve(floor_ratio, prompt_tokens, tokens);
  if (pages > budget_.num_pages()) {
    reject(RejectReason::kTooLarge);
    const bool governed = options_.budget_policy == BudgetPolicy::kGovernor;
    const Ratio& ratio = governed ? floor_ratio : controller_->ratio();
    return absl::ResourceExhaustedError(absl::StrCat(
        "needs ", FormatByteSize(pages * spec_.page_bytes()), " of KV cache for ", prompt_tokens, " prompt and ",
        request.stopping.max_new_tokens, " new tokens at ", governed ? "its floor, " : "", "ratio ", ratio.ToString(),
        ", the budget is ", FormatByteSize(budget_.num_pages() * spec_.page_bytes())));
  }
  if (ExceedsQuota(tenant, pages)) {
    reject(RejectReason::kTenantKv);
    return absl::ResourceExhaustedError(absl::StrCat(
        "tenant quota max_kv_bytes: needs ", FormatByteSize(pages * spec_.page_bytes()), " of KV cache for ", prompt_tokens,
        " prompt and ", request.stopping.max_new_tokens, " new tokens; tenant ", Quoted(quota.tenant), " may have ",
        FormatByteSize(*quota.max_kv_bytes)));
  }
  const uint64_t seed = request.sampling.seed.has_value() ? *request.sampling.seed : NextSeed();
  auto sequence = std::make_unique<Sequence>(std::move(request), sink, seed, next_serial_++, now);
  sequence->kv_floor = kv_floor;
  sequence->floor_ratio = floor_ratio;
  sequence->least_pages = pages;
  sequence->reserved_pages = options_.budget_policy == BudgetPolicy::kPreempt ? 0 : pages;
  sequence->tenant = tenant;
  sequence->queue_time = now - sequence->priority * options_.priority_aging;
  scheduler_->AdvanceTo(now);
  RATION_CHECK(scheduler_->Enqueue(sequence.get()));
  UpdateTimer(sequence.get());
  sequences_.emplace(sequence->id(), std::move(sequence));
  UpdateGauges(now);
  return absl::OkStatus();
}

void EngineCore::BookRejection(int32_t tenant, RejectReason reason) {
  ++stats_.rejections[static_cast<size_t>(reason)];
  if (!stats_.tenants.empty()) ++stats_.tenants[tenant].rejections[static_cast<size_t>(reason)];
}

uint64_t EngineCore::NextSeed() { return SplitMix64(options_.seed ^ SplitMix64(seeds_drawn_++)); }

bool EngineCore::Abort(const std::string& request_id, FinishReason reason) {
  const auto found = sequences_.find(request_id);
  if (found == sequences_.end()) return false;
  Sequence* const sequence = found->second.get();
  const absl::Time now = clock_->Now();
  FinishEarly(sequence, reason, now);
  UpdateGauges(now);
  return true;
}

void EngineCore::Resume(const std::string& request_id) {
  const auto found = sequences_.find(request_id);
  if (found == sequences_.end()) return;
  Sequence* const sequence = found->second.get();
  sequence->paused = false;
  sequence->paused_since = absl::InfiniteFuture();
  UpdateTimer(sequence);
}

absl::Time EngineCore::NextWakeup() const {
  if (pending_.has_value()) return absl::InfinitePast();  // it goes on with every step, also when nothing runs
  return std::min(timers_.empty() ? absl::InfiniteFuture() : timers_.begin()->first.first, scheduler_->NextRefill());
}

void EngineCore::UpdateTimer(Sequence* sequence) {
  absl::Time due = std::min(sequence->request().deadline, sequence->paused_since + options_.slow_reader_timeout);
  if (sequence->place == SchedulableSequence::Place::kWaiting && sequence->started() == absl::InfiniteFuture()) {
    due = std::min(due, sequence->request().queue_deadline);
  }
  if (due == sequence->timer) return;
  if (sequence->timer != absl::InfiniteFuture()) timers_.erase(TimerOf(*sequence));
  sequence->timer = due;
  if (due != absl::InfiniteFuture()) timers_.emplace(TimerOf(*sequence), sequence);
}

void EngineCore::FinishEarly(Sequence* sequence, FinishReason reason, absl::Time now, absl::Status why) {
  Ending ending;
  ending.reason = reason;
  switch (reason) {
    case FinishReason::kDeadline: {
      const std::string after = absl::FormatDuration(absl::Trunc(now - sequence->submitted(), absl::Milliseconds(1)));
      ending.status = absl::DeadlineExceededError(
          sequence->place == SchedulableSequence::Place::kWaiting
              ? absl::StrCat("the deadline passed after ", after, " in the queue")
              : absl::StrCat("the deadline passed after ", after, " with ", sequence->generated_tokens(),
                             " of at most ", sequence->request().stopping.max_new_tokens, " tokens generated"));
      break;
    }
    case FinishReason::kSlowReader:
      ending.status = absl::ResourceExhaustedError(
          absl::StrCat("the client did not read its stream for ", absl::FormatDuration(options_.slow_reader_timeout)));
      break;
    case FinishReason::kShutdown:
      ending.status = absl::UnavailableError("the server is shutting down");
      break;
    case FinishReason::kError:
      ending.status = absl::InternalError("the engine ended the request");
      break;
    case FinishReason::kShed:
      ending.status = absl::ResourceExhaustedError("ended to make room for a smaller KV budget");
      break;
    case FinishReason::kLength:
    case FinishReason::kStop:
    case FinishReason::kAborted:
    case FinishReason::kCount:
      break;
  }
  if (!why.ok()) ending.status = std::move(why);
  GenerationDelta delta;
  sequence->FlushText(delta);
  Finish(sequence, std::move(ending), std::move(delta), now);
}

void EngineCore::Finish(Sequence* sequence, Ending ending, GenerationDelta delta, absl::Time now) {
  const FinishReason reason = ending.reason;
  sequence->OpenDelta(delta);
  delta.finish = sequence->MakeFinishInfo(std::move(ending), spec_, now);
  BookFinished(*sequence, reason, now);
  // Everything goes back before the receiver hears of it, so that a client that asks next finds it free.
  scheduler_->Remove(sequence);
  if (sequence->timer != absl::InfiniteFuture()) timers_.erase(TimerOf(*sequence));
  const auto keep = sequences_.extract(sequence->id());  // until the end of this function
  OutputSink* const sink = sequence->sink();
  sink->OnDelta(std::move(delta));
}

void EngineCore::BookFinished(const Sequence& sequence, FinishReason reason, absl::Time now) {
  ++stats_.requests_finished[static_cast<size_t>(reason)];
  // Latencies of requests that were cut short would only blur those of the ones served.
  if (reason != FinishReason::kStop && reason != FinishReason::kLength) return;
  const double share = static_cast<double>(sequence.generated_tokens()) /
                       static_cast<double>(sequence.request().stopping.max_new_tokens);
  expected_output_share_ += kForecastWeight * (share - expected_output_share_);
  stats_.request_seconds.Observe(absl::ToDoubleSeconds(now - sequence.submitted()));
  const int64_t intervals = sequence.generated_tokens() - 1;
  if (intervals > 0) {
    stats_.time_per_output_token.Observe(absl::ToDoubleSeconds(sequence.last_token() - sequence.first_token()) /
                                         static_cast<double>(intervals));
  }
}

void EngineCore::UpdateGauges(absl::Time now) {
  stats_.published = now;
  overcommitted_ = !budget_.covered() && (overcommitted_ || controller_->policy().admission_overcommit > 1);
  stats_.kv_budget_bytes = cache_.num_pages() * spec_.page_bytes();
  stats_.target_budget_bytes.reset();
  if (pending_.has_value()) stats_.target_budget_bytes = pending_->num_pages * spec_.page_bytes();
  stats_.kv_used_bytes = cache_.used_bytes();
  stats_.kv_reserved_bytes = budget_.reserved_pages() * spec_.page_bytes();
  stats_.kv_waste_bytes = cache_.waste_bytes();
  int64_t stored = 0, full = 0;
  for (int e = 0; e < spec_.num_experts(); ++e) {
    const int64_t tokens = cache_.num_token_layers(e);
    stats_.kv_token_layers[e] = tokens;
    stored += tokens * spec_.bytes_per_token_layer(e);
    full += tokens * spec_.bytes_per_token_layer(0);
  }
  stats_.regrouped_token_layers = cache_.regrouped_token_layers();
  if (stats_.policy_epoch != controller_->epoch()) {
    stats_.policy_epoch = controller_->epoch();
    stats_.policy = controller_->policy();
    for (int e = 0; e < spec_.num_experts(); ++e) stats_.ratio[e] = controller_->ratio().share(e);
  }
  stats_.requested_kv_fraction = controller_->fraction();
  stats_.wanted_kv_fraction = controller_->wanted_fraction();
  stats_.realised_kv_fraction =
      full > 0 ? static_cast<double>(stored) / static_cast<double>(full) : stats_.requested_kv_fraction;
  stats_.requests_running = scheduler_->num_running();
  stats_.requests_waiting = scheduler_->queue().size();
  stats_.waiting_tokens = scheduler_->queue().waiting_tokens();
  for (size_t i = 0; i < stats_.tenants.size(); ++i) {
    const auto tenant = static_cast<int32_t>(i);
    stats_.tenants[i].requests_running = scheduler_->ledger().running(tenant);
    stats_.tenants[i].requests_waiting = static_cast<int64_t>(scheduler_->queue().Line(tenant).size());
    stats_.tenants[i].kv_reserved_bytes = scheduler_->ledger().reserved_bytes(tenant);
  }
}

void EngineCore::CheckInvariants() const {
  cache_.CheckInvariants();
  scheduler_->CheckInvariants();
  RATION_CHECK(pending_.has_value() || cache_.num_pages() == budget_.num_pages());
  RATION_CHECK(overcommitted_ || budget_.covered());
  int64_t waiting = 0, running = 0, reserved = 0, timers = 0;
  for (const auto& [id, sequence] : sequences_) {
    RATION_CHECK(id == sequence->id());
    if (sequence->timer != absl::InfiniteFuture()) {
      ++timers;
      const auto timer = timers_.find(TimerOf(*sequence));
      RATION_CHECK(timer != timers_.end() && timer->second == sequence.get());
    }
    if (sequence->place == SchedulableSequence::Place::kWaiting) {
      ++waiting;
      continue;
    }
    RATION_CHECK(sequence->place == SchedulableSequence::Place::kRunning);
    ++running;
    reserved += sequence->reservation->pages();
    RATION_CHECK(sequence->least_pages <= budget_.num_pages());
    // Every token put through the model is cached exactly once in every layer, or left the layer's window.
    for (int64_t layer = 0; layer < spec_.num_layers(); ++layer) {
      int64_t cached = 0;
      const kernels::PagedKvView view = sequence->kv->View(layer);
      for (int e = 0; e < spec_.num_experts(); ++e) cached += view.experts[e].num_slots + view.experts[e].num_gone;
      RATION_CHECK(cached == sequence->computed_tokens);
      RATION_CHECK(sequence->routing().counts[layer].total == sequence->computed_tokens);
    }
  }
  RATION_CHECK(waiting == scheduler_->queue().size() && running == scheduler_->num_running());
  RATION_CHECK(reserved == budget_.reserved_pages());
  RATION_CHECK(timers == static_cast<int64_t>(timers_.size()));
}

}  // namespace ration
