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

absl::StatusOr<std::unique_ptr<Scheduler>> Scheduler::Create(const Options& options, KvCacheManager* cache) {
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
  return absl::WrapUnique(new Scheduler(options, cache));
}

Scheduler::Scheduler(const Options& options, KvCacheManager* cache)
    : options_(options), cache_(cache), queue_(options.max_queued_requests, options.max_overtakes) {}

bool Scheduler::Enqueue(SchedulableSequence* sequence) {
  RATION_CHECK(sequence->prompt_tokens >= 1 && sequence->computed_tokens == 0);
  RATION_CHECK(sequence->worst_case_pages <= cache_->num_pages());
  if (!queue_.TryPush(sequence)) return false;
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
      sequence->kv.reset();
      sequence->place = Place::kNone;
      break;
  }
  may_admit_ = true;  // a removed sequence may have been what nothing was allowed to pass
}

void Scheduler::Admit() {
  if (!may_admit_) return;
  const auto fits = [this](const SchedulableSequence& sequence) {
    return sequence.worst_case_pages <= cache_->unreserved_pages();
  };
  while (num_running() < options_.max_running_requests) {
    SchedulableSequence* const sequence = queue_.PopFirstFitting(fits);
    if (sequence == nullptr) break;
    sequence->kv = cache_->TryReserve(sequence->worst_case_pages);
    RATION_CHECK(sequence->kv != nullptr);
    sequence->place = Place::kRunning;
    running_.push_back(sequence);
    output_.admitted.push_back(sequence);
  }
  may_admit_ = false;  // until a request comes or goes, the answer stays the same
}

const SchedulerOutput& Scheduler::Schedule() {
  output_.sequences.clear();
  output_.admitted.clear();
  Admit();

  int64_t left = options_.max_batched_tokens;
  for (SchedulableSequence* sequence : running_) {
    if (sequence->paused || sequence->in_prefill()) continue;
    output_.sequences.push_back({sequence, 1, /*prefill=*/false});
    --left;
  }
  for (SchedulableSequence* sequence : running_) {
    if (left == 0) break;
    if (sequence->paused || !sequence->in_prefill()) continue;
    const int64_t remaining = sequence->prompt_tokens - sequence->computed_tokens;
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
    RATION_CHECK(sequence->kv->reserved_pages() == sequence->worst_case_pages);
  }
}

}  // namespace ration
