// Decides, step by step, which sequences run and how many tokens each gets. There are no prefill and decode phases of
// the batch: every running sequence that has something to compute gets some tokens, under a limit for the step.
//   - every decoding sequence gets one token, always: a long prompt that enters never makes others wait more than one step;
//   - what is left goes to prompts in whole routing windows (the last chunk may end the prompt): those of the tenant with the least
//     service first, a tenant's own oldest first.
// Whose turn it is to be admitted, and what a tenant may have at all, is the TenantLedger's. Admission takes a
// reservation from the KvBudget; whether a step's pages are there is the engine core's business, which asks for a plan,
// makes room, and may preempt.
// Layer: engine/scheduler (above kv_cache and budget, below the engine core). Owns no sequence. Thread-compatible.
//
// Invariants: (1) A sequence is waiting, running or neither; it has a SequenceKv and a reservation exactly while
// running. (2) At most max_running_requests run. (3) A step has at most max_batched_tokens tokens. (4) The ledger has
// booked exactly what runs.
#ifndef RATION_ENGINE_SCHEDULER_SCHEDULER_H_
#define RATION_ENGINE_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/budget/kv_budget.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/scheduler/request_queue.h"
#include "engine/scheduler/scheduler_output.h"
#include "engine/scheduler/tenant_ledger.h"

namespace ration {

class Scheduler {
 public:
  struct Options {
    int64_t routing_window = 1;           // tokens, >= 1
    int64_t max_batched_tokens = 2048;    // >= routing_window + max_running_requests: then every prompt can always go on
    int64_t max_running_requests = 256;   // >= 1
    int64_t max_queued_requests = 1024;   // >= 1
    int64_t max_overtakes = 16;           // >= 0; how often later, smaller requests may pass one that waits for pages
    absl::Duration priority_aging = absl::Seconds(10);  // >= 0; see TenantLedger
  };
  // `cache` and `budget` must outlive the scheduler. InvalidArgument names the option, the limit and the value.
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const Options& options, KvCacheManager* cache, KvBudget* budget);

  // Replaces the tenants; `tenant_of` says whose each sequence is now (by TenantLedger::Find in ledger()). What runs
  // goes on. InvalidArgument, and nothing changed, as TenantLedger::Validate.
  absl::Status SetTenants(std::vector<TenantQuota> quotas, absl::FunctionRef<int32_t(const SchedulableSequence&)> tenant_of);
  // The time, for buckets and aging.
  void AdvanceTo(absl::Time now) { ledger_.AdvanceTo(now); }

  // Puts a sequence into the queue, in its tenant's line; false if the queue is full. It waits for ever if its
  // reservation never fits. REQUIRES: the sequence stays where it is in memory until Remove.
  bool Enqueue(SchedulableSequence* sequence);
  // Takes a waiting or running sequence out and frees its pages and its reservation. Does nothing if it is neither.
  void Remove(SchedulableSequence* sequence);
  // Takes a running sequence's pages and reservation and puts it back into the queue, to be computed again from its
  // first token; prefill_tokens must be set to all its tokens before.
  void Preempt(SchedulableSequence* sequence);

  // Admits waiting requests that get their reservation, are within their tenant's quota, and for which `fits` holds.
  // Which they are stands in the next plan.
  void Admit(absl::FunctionRef<bool(const SchedulableSequence&)> fits);
  // Something outside changed (the budget, or what `fits` looks at): Admit shall look again.
  void ReconsiderAdmission() { may_admit_ = true; }
  // Plans a step. The result is valid until the next call; Remove and Preempt do not change it. Cost: O(running);
  // nothing is allocated once the vectors have grown.
  const SchedulerOutput& Plan();
  // A running sequence got prompt tokens computed (for the first time) or a token generated: its tenant was served.
  void BookPrefill(const SchedulableSequence& sequence, int64_t tokens) { ledger_.BookPrefill(sequence.tenant, tokens); }
  void BookGenerated(const SchedulableSequence& sequence) { ledger_.BookGenerated(sequence.tenant); }
  // Of those that wait the first `count` at most, without those that their own tenant's quota holds back.
  void LikelyNext(int64_t count, std::vector<SchedulableSequence*>& next) const {
    queue_.Front(count, next, [this](const SchedulableSequence& sequence) {
      return !ledger_.Throttled(sequence.tenant) && ledger_.HasRoom(sequence.tenant, ReservedBytes(sequence));
    });
  }
  // When a tenant that waits and whose bucket is below zero may have something admitted again; InfiniteFuture if there
  // is none.
  absl::Time NextRefill() const;

  // The step of the last plan begins: those admitted are no longer news.
  void ClearAdmitted() { output_.admitted.clear(); }

  const RequestQueue& queue() const { return queue_; }
  const TenantLedger& ledger() const { return ledger_; }
  void set_max_queued_requests(int64_t max_requests) { queue_.set_max_requests(max_requests); }
  absl::Span<SchedulableSequence* const> running() const { return running_; }  // in order of admission
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }

  // Dies if an invariant does not hold; for tests.
  void CheckInvariants() const;

 private:
  Scheduler(const Options& options, KvCacheManager* cache, KvBudget* budget);

  // The tenants that wait and are not throttled, in the order in which they may go, into admission_order_.
  void FindAdmissionOrder();
  // Moves the prompts of running_ into prefills_, in the order in which they share a step.
  void FindPrefillOrder();
  int64_t ReservedBytes(const SchedulableSequence& sequence) const;

  const Options options_;
  KvCacheManager* const cache_;
  KvBudget* const budget_;
  RequestQueue queue_;
  TenantLedger ledger_;
  std::vector<SchedulableSequence*> running_;  // in order of admission
  bool may_admit_ = false;  // something changed since admission last found nothing that fits
  absl::Time look_again_ = absl::InfiniteFuture();  // when it does by itself: a bucket is full enough
  SchedulerOutput output_;

  // Kept for their capacity.
  std::vector<TenantLedger::Candidate> candidates_;
  std::vector<int32_t> admission_order_;
  std::vector<SchedulableSequence*> prefills_;
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_SCHEDULER_H_
