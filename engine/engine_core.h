// The Engine: requests in, steps, pieces out. Admission and planning are the Scheduler's, a request's own state the
// Sequence's, the ratio in force the BudgetController's; here they meet the model.
//   engine_core.cc     what callers ask for: requests, timers, ends, statistics
//   engine_step.cc     the phases of a step
//   engine_memory.cc   room for a step: reservations, governor, regrouping, preemption
//   engine_control.cc  changes while it runs: ratio, policy, budget, tenants
// Layer: engine; private to it (callers see engine.h). Thread-compatible.
//
// Invariants, beyond engine.h: (1) sequences_ holds exactly the live requests; each is waiting or running in the
// scheduler. (2) timers_ holds exactly the sequences whose timer is finite. (3) The cache has as many pages as the budget
// in force; while a smaller one is steered to, budget_ (what is promised on) has that one's already.
#ifndef RATION_ENGINE_ENGINE_CORE_H_
#define RATION_ENGINE_ENGINE_CORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/budget/budget_controller.h"
#include "engine/budget/demand_forecast.h"
#include "engine/budget/kv_budget.h"
#include "engine/budget/regrouper.h"
#include "engine/budget/router_cache.h"
#include "engine/engine.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/kv_cache/kv_store.h"
#include "engine/model/forward_batch.h"
#include "engine/model/model.h"
#include "engine/router/decode_router.h"
#include "engine/scheduler/scheduler.h"
#include "engine/sequence.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

class EngineCore final : public Engine {
 public:
  EngineCore(const Options& options, const KvCacheSpec& spec, Model* model, RouterCache* routers, KvStore* store,
             const Tokenizer* tokenizer, const Clock* clock);
  // Creates the rest; the object is usable if this is OK.
  absl::Status Init();
  ~EngineCore() override;

  absl::Status Submit(GenerationRequest request, OutputSink* sink) override;
  bool Abort(const std::string& request_id, FinishReason reason) override;
  void Resume(const std::string& request_id) override;
  absl::StatusOr<int64_t> SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch) override;
  absl::StatusOr<int64_t> SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch) override;
  void SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done) override;
  const Policy& policy() const override { return controller_->policy(); }
  absl::Status SetTenants(std::vector<TenantQuota> quotas) override;
  bool Step() override;
  absl::Time NextWakeup() const override;
  bool HasRequests() const override { return !sequences_.empty(); }
  const EngineStats& stats() const override { return stats_; }
  void CheckInvariants() const override;

 private:
  // When a sequence needs attention; equal times in order of arrival.
  using TimerKey = std::pair<absl::Time, int64_t>;
  static TimerKey TimerOf(const Sequence& sequence) { return {sequence.timer, sequence.serial()}; }
  static Sequence* SequenceOf(SchedulableSequence* sequence) { return static_cast<Sequence*>(sequence); }

  // A SetBudget that is under way to fewer pages.
  struct PendingBudget {
    int64_t num_pages = 0;
    absl::Time started;
    int64_t used_pages_before = 0;
    int64_t regrouped_before = 0;
    int64_t preemptions_before = 0;
    int64_t requests_shed = 0;
    BudgetDone done;
  };

  // Phases of a step, in order (engine_step.cc).
  void ExpireTimers(absl::Time now);
  void StartAdmitted(const SchedulerOutput& plan, absl::Time now);
  void BuildBatch(const SchedulerOutput& plan);
  // OK if logits has a row of vocab_size floats for every row asked for.
  absl::Status CheckLogits(const at::Tensor& logits) const;
  void BookForward(const SchedulerOutput& plan);
  void SampleAndDeliver(const SchedulerOutput& plan, const at::Tensor& logits, absl::Time now);
  void FailStep(const SchedulerOutput& plan, const absl::Status& error, absl::Time now);

  // Room for a step (engine_memory.cc).
  // Pages to reserve for a request of `tokens` tokens, `prompt_tokens` of them its prompt.
  int64_t PagesToReserve(const Ratio& floor, int64_t prompt_tokens, int64_t tokens) const;
  // Lets the controller choose the KV fraction; admits what fits.
  GovernorDecision Govern(absl::Time now);
  void AdmitWaiting(const GovernorDecision& decision);
  // Regroups what the governor asks for, within its share of a step's time.
  void RegroupAhead(const GovernorDecision& decision);
  bool FitsOptimistically(const SchedulableSequence& sequence) const;
  // The ratio in force for a request: the controller's, but nowhere below its floor; and the router of it.
  Ratio RatioFor(const Ratio& floor) const { return Ratio::PrefixMax(controller_->ratio(), floor); }
  std::shared_ptr<const DecodeRouter> RouterFor(const Ratio& floor) const;
  // Gives every sequence of the plan the router of the ratio in force for it, or (`at_floor`) of its floor.
  void AssignRouters(const SchedulerOutput& plan, bool at_floor);
  // An upper bound on the pages that the plan's tokens take beyond those held; `precise` costs O(tokens).
  int64_t PagesForPlan(const SchedulerOutput& plan, bool precise) const;
  // Makes a plan for which there is room, by regrouping and, where the policy allows it, preempting.
  const SchedulerOutput& PlanWithRoom(absl::Time now);
  // Regroups until at most `pages` are used, cheapest loss first: the least important tokens of the lowest priority; down to
  // the ratio in force and, if `to_floor`, on to each request's floor. Stops after `limit` too. False: not reached.
  bool RegroupTo(int64_t pages, bool to_floor, absl::Duration limit);
  // The lowest priority's youngest running sequence loses its pages and waits to be computed again.
  void PreemptOne();

  // Changes (engine_control.cc).
  int64_t PagesOf(int64_t bytes) const { return bytes / spec_.page_bytes(); }
  // Ends the lowest-priority, youngest requests until reservations fit `num_pages`; returns how many.
  int64_t Shed(int64_t num_pages, absl::Time now);
  bool ExceedsQuota(int32_t tenant, int64_t pages) const;  // alone
  void RefuseWhatCannotFit(absl::Time now);
  // Goes on towards pending_'s budget; a bounded time.
  void ContinueBudgetChange(absl::Time now);
  void CompleteBudgetChange(absl::Time now);
  void ApplyPolicy();

  // Ends a sequence: frees everything it holds, then sends its last piece, which `delta` begins.
  void Finish(Sequence* sequence, Ending ending, GenerationDelta delta, absl::Time now);
  // The same for a sequence that did not end by itself: shows the text it held back, and says why in words for the
  // client; `why` OK: in the reason's own words.
  void FinishEarly(Sequence* sequence, FinishReason reason, absl::Time now, absl::Status why = absl::OkStatus());
  void BookFinished(const Sequence& sequence, FinishReason reason, absl::Time now);
  // Recomputes the sequence's timer from its deadlines and pause.
  void UpdateTimer(Sequence* sequence);
  void UpdateGauges(absl::Time now);
  void BookRejection(int32_t tenant, RejectReason reason);
  uint64_t NextSeed();

  // Weight of the newest request in the running means that forecasts rest on.
  static constexpr double kForecastWeight = 0.05;

  const Options options_;
  const KvCacheSpec spec_;
  Model* const model_;
  RouterCache* const routers_;
  const Tokenizer* const tokenizer_;  // may be null
  const Clock* const clock_;
  KvStore* const store_;
  std::vector<int32_t> eos_token_ids_;  // those of the options that are in the vocabulary

  KvCacheManager cache_;
  KvBudget budget_;
  Regrouper regrouper_;
  std::unique_ptr<BudgetController> controller_;
  std::unique_ptr<Scheduler> scheduler_;
  std::optional<PendingBudget> pending_;
  bool overcommitted_ = false;  // reservations were made that the budget does not cover, and are not gone yet
  absl::flat_hash_map<std::string, std::unique_ptr<Sequence>> sequences_;  // by request id
  std::map<TimerKey, Sequence*> timers_;
  int64_t next_serial_ = 0;
  uint64_t seeds_drawn_ = 0;

  // What the governor's forecast rests on.
  double expected_output_share_ = 1;  // of max_new_tokens that requests really generate, a running mean
  absl::Time last_governed_ = absl::InfinitePast();
  absl::Duration last_step_;          // how long the last step took
  absl::Time last_admission_ = absl::InfinitePast();      // since when some request waited all the time
  absl::Duration admission_interval_ = absl::Seconds(1);  // between two while others waited, a running mean
  std::vector<DemandClass> demand_;                       // of the governor's input; kept for its capacity
  std::vector<ExpectedCourse> courses_;                   // of the forecast; kept for its capacity
  std::vector<SchedulableSequence*> next_;                // the first that wait, for the forecast; kept for its capacity
  std::vector<Sequence*> victims_;                        // of RegroupTo; kept for its capacity

  ForwardBatch batch_;  // of the current step; kept for its capacity
  EngineStats stats_;
};

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_CORE_H_
