#include "engine/scheduler/scheduler.h"

#include <algorithm>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace ration {
namespace {

using Place = SchedulableSequence::Place;

absl::Status CheckAtLeast(const char* name, int64_t value, int64_t least) {
  if (value >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": must be at least ", least, ", not ", value));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Scheduler>> Scheduler::Create(const Options& options, KvCacheManager* cache,
                                                            KvBudget* budget) {
  for (const absl::Status& status : {CheckAtLeast("routing_window", options.routing_window, 1),
                                     CheckAtLeast("max_running_requests", options.max_running_requests, 1),
                                     CheckAtLeast("max_queued_requests", options.max_queued_requests, 1),
                                     CheckAtLeast("max_overtakes", options.max_overtakes, 0)}) {
    if (!status.ok()) return status;
  }
  if (options.max_batched_tokens - options.routing_window < options.max_running_requests) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_batched_tokens: must be at least routing_window + max_running_requests = ", options.routing_window, " + ",
        options.max_running_requests, ", so that a prompt can go on while everything else decodes; not ",
        options.max_batched_tokens));
  }
  return absl::WrapUnique(new Scheduler(options, cache, budget));
}

Scheduler::Scheduler(const Options& options, KvCacheManager* cache, KvBudget* budget)
    : options_(options),
      cache_(cache),
      budget_(budget),
      queue_(options.max_queued_requests, options.max_overtakes),
      ledger_(options.priority_aging) {}

int64_t Scheduler::ReservedBytes(const SchedulableSequence& sequence) const {
  return sequence.reserved_pages * cache_->spec().page_bytes();
}

absl::Status Scheduler::SetTenants(std::vector<TenantQuota> quotas,
                                   absl::FunctionRef<int32_t(const SchedulableSequence&)> tenant_of) {
  if (absl::Status valid = TenantLedger::Validate(quotas); !valid.ok()) return valid;
  ledger_.SetTenants(std::move(quotas));
  queue_.SetLines(ledger_.size(), tenant_of);
  for (SchedulableSequence* sequence : running_) {
    sequence->tenant = tenant_of(*sequence);
    ledger_.BookRunning(sequence->tenant, ReservedBytes(*sequence));
  }
  for (const int32_t tenant : queue_.busy_lines()) ledger_.ComeBack(tenant, queue_.busy_lines());
  may_admit_ = true;
  return absl::OkStatus();
}

bool Scheduler::Enqueue(SchedulableSequence* sequence) {
  RATION_CHECK(sequence->prefill_tokens >= 1 && sequence->computed_tokens == 0);
  if (!queue_.TryPush(sequence)) return false;
  if (queue_.Line(sequence->tenant).size() == 1) ledger_.ComeBack(sequence->tenant, queue_.busy_lines());
  may_admit_ = true;
  return true;
}

void Scheduler::Remove(SchedulableSequence* sequence) {
  switch (sequence->place) {
    case Place::kNone:
      return;
    case Place::kWaiting:
      queue_.Remove(sequence);
      break;
    case Place::kRunning:
      running_.erase(std::find(running_.begin(), running_.end(), sequence));
      ledger_.Leave(sequence->tenant, ReservedBytes(*sequence));
      sequence->kv.reset();
      sequence->reservation.reset();
      sequence->place = Place::kNone;
      break;
  }
  may_admit_ = true;  // a removed sequence may have been what nothing was allowed to pass
}

void Scheduler::Preempt(SchedulableSequence* sequence) {
  RATION_CHECK(sequence->place == Place::kRunning);
  Remove(sequence);
  sequence->computed_tokens = 0;
  sequence->times_overtaken = 0;
  queue_.PushBack(sequence);
}

void Scheduler::FindAdmissionOrder() {
  admission_order_.clear();
  if (ledger_.size() == 1) {
    admission_order_.push_back(TenantLedger::kOther);
    return;
  }
  candidates_.clear();
  for (const int32_t tenant : queue_.busy_lines()) {
    if (!ledger_.Throttled(tenant)) candidates_.push_back({tenant, queue_.Line(tenant).front()->priority});
  }
  ledger_.Order(candidates_, RequestQueue::kMaxLookahead);
  for (const TenantLedger::Candidate& candidate : candidates_) admission_order_.push_back(candidate.tenant);
}

void Scheduler::Admit(absl::FunctionRef<bool(const SchedulableSequence&)> fits) {
  if (!may_admit_ && ledger_.now() < look_again_) return;
  const auto may_enter = [this, fits](const SchedulableSequence& sequence) {
    return budget_->CanReserve(sequence.reserved_pages) && fits(sequence);
  };
  const auto within_quota = [this](const SchedulableSequence& sequence) {
    return ledger_.HasRoom(sequence.tenant, ReservedBytes(sequence));
  };
  ledger_.ClearPending();
  for (const SchedulableSequence* sequence : running_) {
    if (!sequence->in_prefill()) continue;
    ledger_.AddPending(sequence->tenant, sequence->prefill_tokens - sequence->computed_tokens);
  }
  bool found_none = false;
  while (num_running() < options_.max_running_requests) {
    FindAdmissionOrder();
    SchedulableSequence* const sequence = queue_.PopFirstFitting(may_enter, admission_order_, within_quota);
    found_none = sequence == nullptr;
    if (found_none) break;
    sequence->reservation = budget_->TryReserve(sequence->reserved_pages);
    RATION_CHECK(sequence->reservation != nullptr);
    sequence->kv = cache_->NewSequence();
    sequence->place = Place::kRunning;
    ledger_.Admit(sequence->tenant, ReservedBytes(*sequence), sequence->was_admitted ? 0 : sequence->prefill_tokens);
    ledger_.AddPending(sequence->tenant, sequence->prefill_tokens);
    sequence->was_admitted = true;
    running_.push_back(sequence);
    output_.admitted.push_back(sequence);
  }
  for (const int32_t tenant : queue_.busy_lines()) {
    ledger_.SetHeldBack(tenant, ledger_.Throttled(tenant) || (found_none && queue_.HeldBack(tenant)));
  }
  may_admit_ = false;  // until a request comes or goes, or a bucket fills, the answer stays the same
  look_again_ = NextRefill();
}

absl::Time Scheduler::NextRefill() const {
  absl::Time next = absl::InfiniteFuture();
  for (const int32_t tenant : queue_.busy_lines()) {
    if (ledger_.Throttled(tenant)) next = std::min(next, ledger_.RefillTime(tenant));
  }
  return next;
}

void Scheduler::FindPrefillOrder() {
  prefills_.clear();
  bool one_tenant = true;
  for (SchedulableSequence* sequence : running_) {
    if (sequence->paused || !sequence->in_prefill()) continue;
    prefills_.push_back(sequence);
    one_tenant = one_tenant && sequence->tenant == prefills_.front()->tenant;
  }
  if (one_tenant) return;
  std::stable_sort(prefills_.begin(), prefills_.end(), [this](const SchedulableSequence* a, const SchedulableSequence* b) {
    return ledger_.PrefillsBefore(a->tenant, b->tenant);
  });
}

const SchedulerOutput& Scheduler::Plan() {
  output_.sequences.clear();

  int64_t left = options_.max_batched_tokens;
  for (SchedulableSequence* sequence : running_) {
    if (sequence->paused || sequence->in_prefill()) continue;
    output_.sequences.push_back({sequence, 1, /*prefill=*/false});
    --left;
  }
  FindPrefillOrder();
  for (SchedulableSequence* sequence : prefills_) {
    if (left == 0) break;
    // What was computed before ends at a window or where the prefill does, so a step that stops there is like any other.
    const int64_t end = sequence->recomputing() ? sequence->recompute_tokens : sequence->prefill_tokens;
    const int64_t remaining = end - sequence->computed_tokens;
    const int64_t tokens = remaining <= left ? remaining : left / options_.routing_window * options_.routing_window;
    if (tokens == 0) continue;  // no whole window left for this one, but a short prompt behind it may still fit
    output_.sequences.push_back({sequence, tokens, /*prefill=*/true});
    left -= tokens;
  }
  output_.num_tokens = options_.max_batched_tokens - left;
  return output_;
}

void Scheduler::CheckInvariants() const {
  queue_.CheckInvariants();
  RATION_CHECK(num_running() <= options_.max_running_requests);
  for (const SchedulableSequence* sequence : running_) {
    RATION_CHECK(sequence->place == Place::kRunning && sequence->kv != nullptr);
    RATION_CHECK(sequence->reservation != nullptr && sequence->reservation->pages() == sequence->reserved_pages);
  }
  for (int32_t tenant = 0; tenant < ledger_.size(); ++tenant) {
    int64_t running = 0, bytes = 0;
    for (const SchedulableSequence* sequence : running_) {
      if (sequence->tenant != tenant) continue;
      ++running;
      bytes += ReservedBytes(*sequence);
    }
    RATION_CHECK(running == ledger_.running(tenant) && bytes == ledger_.reserved_bytes(tenant));
  }
}

}  // namespace ration
