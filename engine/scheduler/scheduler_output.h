// What the scheduler knows of a sequence (SchedulableSequence) and what it decides for one step (SchedulerOutput).
// Layer: engine/scheduler. Plain data; used only by the engine thread.
#ifndef RATION_ENGINE_SCHEDULER_SCHEDULER_OUTPUT_H_
#define RATION_ENGINE_SCHEDULER_SCHEDULER_OUTPUT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "engine/budget/kv_budget.h"
#include "engine/kv_cache/kv_cache_manager.h"

namespace ration {

// The engine's Sequence derives from this. The scheduler writes what is marked so, the engine the rest.
struct SchedulableSequence {
  enum class Place { kNone, kWaiting, kRunning };

  int64_t prefill_tokens = 0;    // >= 1; to put through the model in windows: the prompt, and after a preemption all that had been
                                 // put through it before
  int64_t recompute_tokens = 0;  // of those, the first so many were computed before a preemption; no step goes on beyond them
  int64_t reserved_pages = 0;    // reserved at admission
  int64_t computed_tokens = 0;   // tokens put through the model so far; below prefill_tokens: still in prefill
  int32_t priority = 0;          // higher is more important
  int32_t tenant = 0;            // its number in the TenantLedger
  absl::Time queue_time;         // arrival, earlier by what the priority is worth: the queue's order
  bool paused = false;           // keeps its pages and its running place but gets no tokens

  Place place = Place::kNone;      // written by the scheduler
  bool was_admitted = false;       // at least once; written by the scheduler
  int64_t times_overtaken = 0;     // while waiting, by later requests; written by the scheduler
  std::unique_ptr<KvBudget::Reservation> reservation;  // exactly while running; written by the scheduler
  std::unique_ptr<SequenceKv> kv;  // exactly while running; written by the scheduler

  bool in_prefill() const { return computed_tokens < prefill_tokens; }
  bool recomputing() const { return computed_tokens < recompute_tokens; }
};

// A sequence's share of one step: its next `num_tokens` tokens, all of them prefill tokens or one generated token.
struct ScheduledSequence {
  SchedulableSequence* sequence = nullptr;
  int64_t num_tokens = 0;  // >= 1
  bool prefill = false;
};

struct SchedulerOutput {
  std::vector<ScheduledSequence> sequences;    // decoding ones first, each group in order of admission
  std::vector<SchedulableSequence*> admitted;  // left the queue in this step, scheduled or not
  int64_t num_tokens = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_SCHEDULER_OUTPUT_H_
