// The engine core: queue, scheduler, step loop. Single-threaded and free of threads, sockets and wall-clock waits: whoever owns
// it calls Step() (EngineRunner does in the server, tests do by hand).
// Layer: engine. Thread-compatible: one thread at a time.
//
// Invariants: (1) every accepted request ends with exactly one delta that carries `finish`. (2) A running sequence has a
// reservation: what it can be brought down to at its full length (BudgetPolicy::kGovernor), or its worst case (kStatic); so no step ever
// lacks a page, and used bytes never exceed the budget. Under kPreempt, and with admission_overcommit above 1, a sequence may lose its
// pages and be computed again. (3) After a request's last delta it holds no page, no reservation and no queue place.
#ifndef RATION_ENGINE_ENGINE_H_
#define RATION_ENGINE_ENGINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/budget/control.h"
#include "engine/engine_stats.h"
#include "engine/model/model_info.h"
#include "engine/request.h"
#include "engine/scheduler/tenant_quota.h"

namespace ration {

class KvCacheSpec;
class KvStore;
class Model;
class RouterCache;
class Tokenizer;

class Engine {
 public:
  struct Options {
    int64_t num_pages = 0;             // >= 1; the budget at the start is num_pages * page_bytes
    BudgetPolicy budget_policy = BudgetPolicy::kGovernor;
    Policy policy;                     // the knobs at the start; a ladder of one expert means the default for the model's
    // Absent: under kGovernor the governor chooses (ControlMode::kAuto), otherwise everything is kept. Present: the fixed ratio, under
    // kGovernor as SetRatio would set it.
    std::optional<Ratio> ratio;
    absl::Duration priority_aging = absl::Seconds(10);  // >= 0; a waiting request gains a level of priority in this time
    int64_t max_batched_tokens = 2048; // a step's tokens at most; >= routing_window + max_running_requests
    int64_t max_running_requests = 256;
    int64_t max_overtakes = 16;        // how often later, smaller requests may pass one that waits for memory
    std::vector<int32_t> eos_token_ids;  // ids outside the vocabulary are ignored
    absl::Duration slow_reader_timeout = absl::Seconds(30);  // paused this long: kSlowReader
    uint64_t seed = 0;  // from which requests without a seed draw theirs
  };
  // `model`, `routers`, `store` (may be nullptr: books without bytes), `tokenizer` (may be nullptr: text stays empty and stop strings
  // are refused) and `clock` must outlive the engine. InvalidArgument names the option, limit and value.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const Options& options, const KvCacheSpec& spec, Model* model,
                                                        RouterCache* routers, KvStore* store,
                                                        const Tokenizer* tokenizer, const Clock* clock);
  virtual ~Engine() = default;

  // Queues a request; its pieces go to `sink`, which must live until the piece with `finish`. On error nothing is queued and
  // sink is never called: InvalidArgument (field, limit, value), ResourceExhausted (queue full, its tenant's quota, or it could never
  // fit: bytes needed and bytes there are), AlreadyExists (a live request has this id). The sink must not call the engine.
  virtual absl::Status Submit(GenerationRequest request, OutputSink* sink) = 0;
  // Ends a request at once with kAborted (or `reason`), freeing its pages before returning; false if there is no such request.
  virtual bool Abort(const std::string& request_id, FinishReason reason = FinishReason::kAborted) = 0;
  // The receiver of a paused sequence can take more.
  virtual void Resume(const std::string& request_id) = 0;

  // Changes of what is in force. Each has an epoch, the engine's one counter, which they return and stats() shows. If
  // `expected_epoch` is given and something was changed by these calls since: Aborted, and nothing changes. (The governor's own
  // moves have epochs too, but are no conflict.)
  //
  // Fixes the ratio for tokens not yet routed and goes to ControlMode::kManual. FailedPrecondition under a policy other than
  // kGovernor; InvalidArgument if the ratio is not of the model's experts.
  virtual absl::StatusOr<int64_t> SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch) = 0;
  // All of the change or, with InvalidArgument naming field, limit and value, nothing.
  virtual absl::StatusOr<int64_t> SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch) = 0;
  // Steers towards another budget, step by step when it is lower; `done` is called when it is in force and the memory has been
  // given back, or at once with an error: InvalidArgument (less than a page), FailedPrecondition (the floors of what runs do not
  // fit; nothing changes), ResourceExhausted (the memory is refused), Aborted (a later SetBudget came before this one was done, or
  // the engine ended).
  virtual void SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done) = 0;
  virtual const Policy& policy() const = 0;
  // Replaces the tenants and their quotas; requests belong to the one their `tenant` names, the rest share an entry without limits. What
  // runs goes on, even beyond a quota; what waits and could never fit its new one ends with kShed. InvalidArgument names tenant, field,
  // limit and value, and nothing changes. See docs/tenants.md. (No epoch: tenants come from a file, not from operators' calls.)
  virtual absl::Status SetTenants(std::vector<TenantQuota> quotas) = 0;

  // One iteration: expire deadlines, admit, schedule, forward, sample, deliver. Returns false if there was nothing to run (idle,
  // or everything is paused).
  virtual bool Step() = 0;
  // The earliest time at which Step() has something to do though it just returned false (a deadline, a slow reader's
  // timeout, or a tenant's tokens per second allow more).
  virtual absl::Time NextWakeup() const = 0;
  virtual bool HasRequests() const = 0;

  virtual const EngineStats& stats() const = 0;
  // Dies if an invariant does not hold; for tests.
  virtual void CheckInvariants() const = 0;
};

// Checks everything about a request that does not depend on load: ids in range, limits, lengths against the context. The message
// names field, limit and value ("sampling.top_p: must be in (0, 1], not 1.5").
absl::Status ValidateRequest(const GenerationRequest& request, const ModelInfo& model, bool has_tokenizer);

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_H_
