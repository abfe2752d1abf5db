// The Engine: requests in, steps, pieces out. Admission and planning are the Scheduler's, a request's own state the
// Sequence's; here they meet the model. engine_core.cc holds what callers ask for, engine_step.cc the phases of a step.
// Layer: engine; private to it (callers see engine.h). Thread-compatible.
//
// Invariants, beyond engine.h: (1) sequences_ holds exactly the live requests; each is waiting or running in the
// scheduler. (2) timers_ holds exactly the sequences whose timer is finite.
#ifndef RATION_ENGINE_ENGINE_CORE_H_
#define RATION_ENGINE_ENGINE_CORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/engine.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/model/forward_batch.h"
#include "engine/model/model.h"
#include "engine/router/decode_router.h"
#include "engine/scheduler/scheduler.h"
#include "engine/sequence.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

class EngineCore final : public Engine {
 public:
  EngineCore(const Options& options, const KvCacheSpec& spec, Model* model, const DecodeRouter* router,
             const Tokenizer* tokenizer, const Clock* clock);
  // Creates the scheduler; the object is usable if this is OK.
  absl::Status Init();
  ~EngineCore() override;

  absl::Status Submit(GenerationRequest request, OutputSink* sink) override;
  bool Abort(const std::string& request_id, FinishReason reason) override;
  void Resume(const std::string& request_id) override;
  absl::StatusOr<int64_t> SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch) override;
  absl::StatusOr<int64_t> SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch) override;
  void SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done) override;
  const Policy& policy() const override { return stats_.policy; }
  bool Step() override;
  absl::Time NextWakeup() const override;
  bool HasRequests() const override { return !sequences_.empty(); }
  const EngineStats& stats() const override { return stats_; }
  void CheckInvariants() const override;

 private:
  // The ratio never changes while the engine lives, so there is one epoch.
  static constexpr int64_t kRatioEpoch = 1;

  // When a sequence needs attention; equal times in order of arrival.
  using TimerKey = std::pair<absl::Time, int64_t>;
  static TimerKey TimerOf(const Sequence& sequence) { return {sequence.timer, sequence.serial()}; }

  // Phases of a step, in order (engine_step.cc).
  void ExpireTimers(absl::Time now);
  void StartAdmitted(const SchedulerOutput& plan, absl::Time now);
  void BuildBatch(const SchedulerOutput& plan);
  // OK if logits has a row of vocab_size floats for every row asked for.
  absl::Status CheckLogits(const at::Tensor& logits) const;
  void BookForward(const SchedulerOutput& plan);
  void SampleAndDeliver(const SchedulerOutput& plan, const at::Tensor& logits, absl::Time now);
  void FailStep(const SchedulerOutput& plan, const absl::Status& error, absl::Time now);

  // Ends a sequence: frees everything it holds, then sends its last piece, which `delta` begins.
  void Finish(Sequence* sequence, Ending ending, GenerationDelta delta, absl::Time now);
  // The same for a sequence that did not end by itself: shows the text it held back, and says why in words for the
  // client.
  void FinishEarly(Sequence* sequence, FinishReason reason, absl::Time now);
  Ending MakeEnding(const Sequence& sequence, FinishReason reason, absl::Time now) const;
  void BookFinished(const Sequence& sequence, FinishReason reason, absl::Time now);
  // Recomputes the sequence's timer from its deadline and pause.
  void UpdateTimer(Sequence* sequence);
  void UpdateGauges(absl::Time now);
  uint64_t NextSeed();

  const Options options_;
  const KvCacheSpec spec_;
  Model* const model_;
  const DecodeRouter* const router_;
  const Tokenizer* const tokenizer_;  // may be null
  const Clock* const clock_;
  std::vector<int32_t> eos_token_ids_;  // those of the options that are in the vocabulary

  KvCacheManager cache_;
  std::unique_ptr<Scheduler> scheduler_;
  absl::flat_hash_map<std::string, std::unique_ptr<Sequence>> sequences_;  // by request id
  std::map<TimerKey, Sequence*> timers_;
  int64_t next_serial_ = 0;
  uint64_t seeds_drawn_ = 0;

  ForwardBatch batch_;  // of the current step; kept for its capacity
  EngineStats stats_;
};

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_CORE_H_
