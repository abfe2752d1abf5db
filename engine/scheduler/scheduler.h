// Decides, step by step, which sequences run and how many tokens each gets. There are no prefill and decode phases of the batch:
// every running sequence that has something to compute gets some tokens, under a limit for the step.
//   - every decoding sequence gets one token, always: a long prompt that enters never makes others wait more than one step;
//   - what is left goes to prompts, oldest first, in whole routing windows (the last chunk may end the prompt).
// Admission takes pages for a sequence's worst case, so nothing that runs is ever short of memory.
// Layer: engine/scheduler (above kv_cache, below the engine core). Owns no sequence. Thread-compatible.
//
// Invariants: (1) A sequence is waiting, running or neither; it has a SequenceKv exactly while running. (2) At most
// max_running_requests run. (3) A step has at most max_batched_tokens tokens.
#ifndef RATION_ENGINE_SCHEDULER_SCHEDULER_H_
#define RATION_ENGINE_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/scheduler/request_queue.h"
#include "engine/scheduler/scheduler_output.h"

namespace ration {

class Scheduler {
 public:
  struct Options {
    int64_t routing_window = 1;           // tokens, >= 1
    int64_t max_batched_tokens = 2048;    // >= routing_window + max_running_requests: then every prompt can always go on
    int64_t max_running_requests = 256;   // >= 1
    int64_t max_queued_requests = 1024;   // >= 1
    int64_t max_overtakes = 16;           // >= 0; how often later, smaller requests may pass one that waits for pages
  };
  // `cache` must outlive the scheduler. InvalidArgument names the option, the limit and the value.
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const Options& options, KvCacheManager* cache);

  // Puts a sequence into the queue; false if the queue is full. REQUIRES: worst_case_pages <= cache.num_pages(), else it would wait
  // for ever; the sequence stays where it is in memory until Remove.
  bool Enqueue(SchedulableSequence* sequence);
  // Takes a waiting or running sequence out and frees its pages and its reservation. Does nothing if it is neither.
  void Remove(SchedulableSequence* sequence);

  // Admits what fits and plans a step. The result is valid until the next call; Remove does not change it. Cost: O(running)
  // plus O(1) a request admitted; nothing is allocated once the vectors have grown.
  const SchedulerOutput& Schedule();

  const RequestQueue& queue() const { return queue_; }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }

  // Dies if an invariant does not hold; for tests.
  void CheckInvariants() const;

 private:
  Scheduler(const Options& options, KvCacheManager* cache);

  void Admit();

  const Options options_;
  KvCacheManager* const cache_;
  RequestQueue queue_;
  std::vector<SchedulableSequence*> running_;  // in order of admission
  bool may_admit_ = false;  // something changed since admission last found nothing that fits
  SchedulerOutput output_;
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_SCHEDULER_H_
