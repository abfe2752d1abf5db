// Runs an Engine on a thread of its own and is the only way other threads reach it: a mailbox of commands.
// Layer: engine. Thread-safe: every public method may be called from any thread and returns without waiting for a step.
#ifndef RATION_ENGINE_ENGINE_RUNNER_H_
#define RATION_ENGINE_ENGINE_RUNNER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"
#include "engine/engine_stats.h"
#include "engine/request.h"

namespace ration {

class EngineRunner {
 public:
  struct Options {
    // Requests submitted and not yet finished, at most: the cheap shed at the front door, counted before a prompt is tokenised.
    int64_t max_live_requests = 1280;
  };
  EngineRunner(const Options& options, std::unique_ptr<Engine> engine);
  // Ends every live request with kShutdown and joins the thread.
  ~EngineRunner();

  // A place among the live requests, taken before any work is done for a request and given back when it is destroyed.
  class Ticket {
   public:
    explicit Ticket(std::atomic<int64_t>* live) : live_(live) {}
    ~Ticket() { live_->fetch_sub(1, std::memory_order_relaxed); }
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;

   private:
    std::atomic<int64_t>* const live_;
  };
  // ResourceExhausted if max_live_requests are live; Unavailable once StartDrain was called. The messages are for clients.
  absl::StatusOr<std::unique_ptr<Ticket>> Admit();

  // Hands the request to the engine. `sink` is shared with the engine until its last piece. If the engine refuses the request,
  // `on_rejected` runs on the engine thread instead of any OnDelta.
  void Submit(GenerationRequest request, std::shared_ptr<OutputSink> sink, std::function<void(absl::Status)> on_rejected);
  void Abort(const std::string& request_id, FinishReason reason = FinishReason::kAborted);
  void Resume(const std::string& request_id);

  // No new requests; running and queued ones go on.
  void StartDrain();
  // Waits until no request is live or `deadline` (wall clock); true if none is.
  bool WaitUntilIdle(absl::Time deadline);

  // The newest snapshot; never older than the last step (or 100 ms when idle).
  EngineStats Stats() const;

 private:
  void Loop();

  const Options options_;
  std::unique_ptr<Engine> engine_;  // engine thread only
  std::atomic<int64_t> live_{0};
  std::atomic<bool> draining_{false};

  mutable absl::Mutex mutex_;
  std::vector<std::function<void(Engine&)>> mailbox_ ABSL_GUARDED_BY(mutex_);
  EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool idle_ ABSL_GUARDED_BY(mutex_) = true;  // no live request in the engine and an empty mailbox

  std::thread thread_;  // last: starts when everything above is ready
};

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_RUNNER_H_
