// An Engine with no model, driven by hand from a test's thread while an EngineRunner owns it: the test sees what was submitted and
// says what comes out of it and when.
// Thread-safe where marked; the Engine interface is the runner's thread's alone.
//
// Two modes: by hand (Emit, Finish), or autopilot, where every step gives each unpaused request one token until its
// max_new_tokens are reached. Ratio, policy and epochs are a real BudgetController's, of three experts with group sizes 1, 2 and 4;
// budgets change when the test says so.
#ifndef RATION_TESTS_TESTING_PUPPET_ENGINE_H_
#define RATION_TESTS_TESTING_PUPPET_ENGINE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/budget/budget_controller.h"
#include "engine/engine.h"
#include "engine/engine_stats.h"
#include "engine/model/model_info.h"
#include "engine/request.h"

namespace ration {

// The strings. Shared by the test and the puppet. Thread-safe.
class PuppetStrings {
 public:
  // Waits until a request with this id was submitted, at most ten seconds; nullopt if it was not.
  std::optional<GenerationRequest> WaitForRequest(const std::string& request_id);
  // Sends a piece to a live request, whether or not it is paused. Returns at once; the engine thread does it in its next step.
  void Emit(const std::string& request_id, GenerationDelta delta);
  // A piece with one token and this text.
  void EmitText(const std::string& request_id, std::string text);
  void Finish(const std::string& request_id, FinishInfo finish);
  // Wait (ten seconds at most) until it is so; false if it did not become so.
  bool WaitUntilPaused(const std::string& request_id);
  bool WaitUntilResumed(const std::string& request_id);
  bool WaitUntilGone(const std::string& request_id);  // and not live any more
  // How a request ended, if it has; the reason given to Abort or in the finish.
  std::optional<FinishReason> EndOf(const std::string& request_id);
  int64_t num_live();
  int64_t num_submitted();
  // Every Submit from now on fails with this; OK: none.
  void RejectWith(absl::Status status);
  // Every SetBudget from now on waits for CompleteBudget; before, each is done at once.
  void HoldBudgets();
  // Waits for a SetBudget (ten seconds at most) and returns it; nullopt if there was none.
  std::optional<BudgetChange> WaitForBudget();
  // Ends the SetBudget that waits, with this; OK: as if it had been reached.
  void CompleteBudget(absl::Status status = absl::OkStatus());
  // Changes the numbers that the engine publishes, in its next step.
  void ChangeStats(std::function<void(EngineStats*)> change);
  // The next step hangs, as one that a driver or a lock holds up; returns when the engine's thread is in it (ten seconds at most; false
  // if it did not come). Release it before the engine goes.
  bool HoldSteps();
  void ReleaseSteps();
  // `text` is what each token of the autopilot says.
  void StartAutopilot(std::string text);

 private:
  friend class PuppetEngine;
  struct Live {
    GenerationRequest request;
    OutputSink* sink = nullptr;
    std::vector<GenerationDelta> to_send;
    int64_t generated = 0;
    bool paused = false;
  };
  template <typename Condition>
  bool WaitUntil(Condition condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Live> live_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, GenerationRequest> seen_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, FinishReason> ended_ ABSL_GUARDED_BY(mutex_);
  absl::Status reject_with_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> autopilot_text_ ABSL_GUARDED_BY(mutex_);
  int64_t submitted_ ABSL_GUARDED_BY(mutex_) = 0;
  bool hold_steps_ ABSL_GUARDED_BY(mutex_) = false;
  bool step_held_ ABSL_GUARDED_BY(mutex_) = false;
  bool hold_budgets_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<BudgetChange> budget_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> complete_budget_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::function<void(EngineStats*)>> changes_ ABSL_GUARDED_BY(mutex_);
};

class PuppetEngine final : public Engine {
 public:
  PuppetEngine(std::shared_ptr<PuppetStrings> strings, const Clock* clock);
  ~PuppetEngine() override;
  // 1, 2, 4, of four heads.
  static ExpertSpec Experts();

  absl::Status Submit(GenerationRequest request, OutputSink* sink) override;
  bool Abort(const std::string& request_id, FinishReason reason) override;
  void Resume(const std::string& request_id) override;
  absl::StatusOr<int64_t> SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch) override;
  absl::StatusOr<int64_t> SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch) override;
  void SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done) override;
  const Policy& policy() const override { return controller_->policy(); }
  // Has none: takes them and does nothing.
  absl::Status SetTenants(std::vector<TenantQuota>) override { return absl::OkStatus(); }
  bool Step() override;
  // Looks for new strings pulled a thousand times a second.
  absl::Time NextWakeup() const override;
  bool HasRequests() const override;
  const EngineStats& stats() const override { return stats_; }
  void CheckInvariants() const override {}

 private:
  void EndBudget(absl::Status status);
  // Shows what the controller says.
  void UpdateStats();
  void Send(const std::string& request_id, PuppetStrings::Live* live, GenerationDelta delta);

  const std::shared_ptr<PuppetStrings> strings_;
  const Clock* const clock_;
  EngineStats stats_;
  std::unique_ptr<BudgetController> controller_;
  BudgetDone budget_done_;  // of the SetBudget that waits
};

}  // namespace ration

#endif  // RATION_TESTS_TESTING_PUPPET_ENGINE_H_
