// The requests that wait for admission: in order of queue_time (arrival, earlier by what a priority is worth: waiting is worth as much,
// so a low priority ages instead of starving), bounded in number, with bounded overtaking.
// A large request at the head that waits for memory may be passed by smaller ones, but only a fixed number of times: then nothing
// passes it, running requests end, and it gets its pages. So neither starves the other.
// Layer: engine/scheduler. Knows no pages: the caller says what fits. Thread-compatible.
//
// Invariants: (1) Pushes keep size() <= max_requests (preempted sequences may come back beyond it). (2) waiting_tokens() is
// the sum of prefill_tokens queued. (3) The order is that of queue_time, equal times in order of arrival. (4) No sequence was overtaken
// more than max_overtakes times.
#ifndef RATION_ENGINE_SCHEDULER_REQUEST_QUEUE_H_
#define RATION_ENGINE_SCHEDULER_REQUEST_QUEUE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "engine/scheduler/scheduler_output.h"

namespace ration {

class RequestQueue {
 public:
  // Entries looked at when the head does not fit: bounds the cost of a step with a long queue.
  static constexpr int64_t kMaxLookahead = 64;

  // REQUIRES: max_requests >= 1, max_overtakes >= 0 (0: strict order).
  RequestQueue(int64_t max_requests, int64_t max_overtakes);

  // Adds it; false (and nothing changed) if the queue is full. REQUIRES: sequence->place is kNone; it outlives its stay.
  bool TryPush(SchedulableSequence* sequence);
  // The same for a sequence that ran already: it comes back whether the queue is full or not, before others of its queue_time.
  void PushBack(SchedulableSequence* sequence);
  // Takes a waiting sequence out. O(size()).
  void Remove(SchedulableSequence* sequence);
  // Takes out the first sequence, in the queue's order, for which `fits` holds and that may pass those before it, and counts it
  // against them. nullptr if there is none.
  SchedulableSequence* PopFirstFitting(absl::FunctionRef<bool(const SchedulableSequence&)> fits);

  int64_t size() const { return static_cast<int64_t>(waiting_.size()); }
  bool empty() const { return waiting_.empty(); }
  int64_t max_requests() const { return max_requests_; }
  void set_max_requests(int64_t max_requests) { max_requests_ = max_requests; }  // >= 1; those queued already stay
  // The first `count` at most, in the queue's order.
  absl::Span<SchedulableSequence* const> Front(int64_t count) const {
    return absl::MakeConstSpan(waiting_).subspan(0, static_cast<size_t>(std::min(count, size())));
  }
  int64_t waiting_tokens() const { return waiting_tokens_; }

  // Dies if an invariant does not hold; for tests.
  void CheckInvariants() const;

 private:
  SchedulableSequence* Take(std::vector<SchedulableSequence*>::iterator position);

  int64_t max_requests_;
  const int64_t max_overtakes_;
  std::vector<SchedulableSequence*> waiting_;  // earliest queue_time first
  int64_t waiting_tokens_ = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_REQUEST_QUEUE_H_
