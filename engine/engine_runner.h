// Runs an Engine on a thread of its own and is the only way other threads reach it: a mailbox of commands, read between steps.
// Layer: engine. Thread-safe: every public method may be called from any thread and returns without waiting for a step
// (WaitUntilIdle and the destructor excepted). An idle engine's thread sleeps but for ten snapshots a second.
#ifndef RATION_ENGINE_ENGINE_RUNNER_H_
#define RATION_ENGINE_ENGINE_RUNNER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/mutex.h"
#include "engine/engine.h"
#include "engine/engine_stats.h"
#include "engine/request.h"

namespace ration {

class EngineRunner {
 public:
  struct Options {
    // Requests submitted and not yet finished, at most: the cheap shed at the front door, counted before a prompt is tokenised.
    // Goes up and down with the policy's max_queued_requests.
    int64_t max_live_requests = 1280;
  };
  EngineRunner(const Options& options, std::unique_ptr<Engine> engine);
  // Ends every live request with kShutdown and joins the thread. Tickets must be gone before: they count on this object.
  ~EngineRunner();

  // A place among the live requests, taken before any work is done for a request and given back when it is destroyed. It also
  // stands for the prompt's tokens (AdmitPrompt) until the engine counts them itself.
  class Ticket {
   public:
    explicit Ticket(EngineRunner* runner) : runner_(runner) {}
    ~Ticket() {
      runner_->front_door_tokens_.fetch_sub(prompt_tokens_, std::memory_order_relaxed);
      runner_->live_.fetch_sub(1, std::memory_order_relaxed);
    }
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;

   private:
    friend class EngineRunner;
    EngineRunner* const runner_;
    int64_t prompt_tokens_ = 0;
  };
  // ResourceExhausted if max_live_requests are live; Unavailable once StartDrain was called. The messages are for clients.
  absl::StatusOr<std::unique_ptr<Ticket>> Admit();
  // Counts the prompt of an admitted request against the policy's max_queued_tokens, before it is tokenised: `token_ids` of them
  // exactly, `text_bytes` by the tokens a byte that prompts had so far. ResourceExhausted with a retry hint if it does not fit behind
  // the prompts that wait; a queue without prompts takes one of any length. Once a request. REQUIRES: one of the counts is 0.
  absl::Status AdmitPrompt(Ticket* ticket, int64_t text_bytes, int64_t token_ids);
  // Replaces the estimate by the count, once the prompt is tokenised, and learns from it.
  void SetPromptTokens(Ticket* ticket, int64_t text_bytes, int64_t tokens);

  // Hands the request to the engine. `sink` is shared with the engine until its last piece. If the engine refuses the request,
  // `on_rejected` runs on the engine thread instead of any OnDelta. The tokens counted with `ticket` (may be nullptr) are the
  // engine's from now on; the place stays the ticket's.
  void Submit(GenerationRequest request, std::shared_ptr<OutputSink> sink, std::function<void(absl::Status)> on_rejected,
              Ticket* ticket = nullptr);
  void Abort(const std::string& request_id, FinishReason reason = FinishReason::kAborted);
  void Resume(const std::string& request_id);

  // Changes of what is in force; see Engine for what they mean and how they fail. `done` runs once, on the engine thread, between two
  // steps, and the snapshot already shows the change. If the runner ends first: Aborted.
  using EpochDone = std::function<void(absl::StatusOr<int64_t>)>;
  void SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch, EpochDone done);
  // `done` gets the policy in force after the change too.
  using PolicyDone = std::function<void(absl::StatusOr<int64_t>, const Policy&)>;
  void SetPolicy(PolicyChange change, std::optional<int64_t> expected_epoch, PolicyDone done);
  void SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done);

  // See Engine::SetTenants; before requests come and while they do. `done` may be null; it runs as those above.
  void SetTenants(std::vector<TenantQuota> quotas, std::function<void(absl::Status)> done);

  // No new requests; running and queued ones go on.
  void StartDrain();
  bool draining() const { return draining_.load(); }
  // Waits until no request is live (no ticket is held and the engine has nothing) or `deadline` (wall clock); true if none is.
  bool WaitUntilIdle(absl::Time deadline);

  // Whether the engine's thread gets on: while it does, last_step (the engine's Clock) is never older than the longest step, or 100 ms
  // when there is no work. Cheap, and answered even if the thread hangs.
  struct Pulse {
    absl::Time last_step;
    bool has_work = false;  // requests or commands
  };
  Pulse pulse() const;

  // The newest snapshot; never older than the last step (or 100 ms when idle). Refusals of Admit are among its rejections.
  EngineStats Stats() const;

 private:
  using Command = std::function<void()>;
  // Passes pieces on and lets go of the receiver with the last one.
  class LiveSink;

  void Loop();
  void Post(Command command);
  // Sleeps until there is mail, a timer of the engine is due, or the next snapshot is. Returns the mail and whether to stop.
  bool TakeMail(bool may_sleep, std::vector<Command>& commands);
  void Publish();

  const Options options_;
  std::atomic<int64_t> live_{0};
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> refused_full_{0}, refused_draining_{0}, refused_tokens_{0};
  // Tokens of prompts on their way to the engine, and what the last snapshot says of the queue and its limits.
  std::atomic<int64_t> front_door_tokens_{0}, waiting_tokens_{0}, max_queued_tokens_{0}, max_live_requests_{0};

  Mutex rate_mutex_;
  // Of the prompts tokenised so far, older ones counting less; starts at one token a byte, the most there can be.
  double seen_bytes_ ABSL_GUARDED_BY(rate_mutex_);
  double seen_tokens_ ABSL_GUARDED_BY(rate_mutex_);

  // Engine thread only.
  int64_t arrived_tokens_ = 0;  // in front_door_tokens_, and in the engine's next snapshot too
  int64_t first_max_queued_requests_ = 0;
  std::unique_ptr<Engine> engine_;
  absl::flat_hash_map<std::string, std::unique_ptr<LiveSink>> sinks_;  // by request id
  std::unique_ptr<LiveSink> finished_;                                 // the last one to end; may still be on the stack

  mutable Mutex mutex_;
  CondVar mail_;  // mailbox_ or stop_ changed
  CondVar idle_changed_;
  std::vector<Command> mailbox_ ABSL_GUARDED_BY(mutex_);
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool idle_ ABSL_GUARDED_BY(mutex_) = true;  // no live request in the engine and an empty mailbox

  std::thread thread_;  // last: starts when everything above is ready
};

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_RUNNER_H_
