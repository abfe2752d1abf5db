// The requests that wait for admission, a line for each tenant: in a line in order of queue_time (arrival, earlier by
// what a priority is worth: waiting is worth as much, so a low priority ages instead of starving). Bounded in number,
// with bounded overtaking. A large request that waits for memory may be passed by smaller ones that come after it, but
// only a fixed number of times: then nothing passes it, running requests end, and it gets its pages. So neither starves
// the other. Between lines, "after" is the order the caller looks at them in. What only its tenant's own quota keeps
// back is passed by that tenant's requests alone, and holds up no others.
// Layer: engine/scheduler. Knows no pages and no quotas: the caller says what fits, and whose turn it is.
// Thread-compatible.
//
// Invariants: (1) Pushes keep size() <= max_requests (preempted sequences may come back beyond it). (2)
// waiting_tokens() is the sum of prefill_tokens queued. (3) A line's order is that of queue_time, equal times in order
// of arrival. (4) No sequence was overtaken more than max_overtakes times. (5) A sequence waits in the line of its
// tenant.
#ifndef RATION_ENGINE_SCHEDULER_REQUEST_QUEUE_H_
#define RATION_ENGINE_SCHEDULER_REQUEST_QUEUE_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "engine/scheduler/scheduler_output.h"

namespace ration {

class RequestQueue {
 public:
  // Entries looked at when those in front do not fit: bounds the cost of a step with a long queue.
  static constexpr int64_t kMaxLookahead = 64;

  // With one line. REQUIRES: max_requests >= 1, max_overtakes >= 0 (0: strict order).
  RequestQueue(int64_t max_requests, int64_t max_overtakes);

  // Puts everyone who waits into the lines of `count` tenants anew; `tenant_of` says which. REQUIRES: count >= 1.
  void SetLines(int32_t count, absl::FunctionRef<int32_t(const SchedulableSequence&)> tenant_of);

  // Adds it; false (and nothing changed) if the queue is full. REQUIRES: sequence->place is kNone; it outlives its
  // stay.
  bool TryPush(SchedulableSequence* sequence);
  // The same for a sequence that ran already: it comes back whether the queue is full or not, before others of its
  // queue_time.
  void PushBack(SchedulableSequence* sequence);
  // Takes a waiting sequence out. O(size()).
  void Remove(SchedulableSequence* sequence);

  using Condition = absl::FunctionRef<bool(const SchedulableSequence&)>;
  // Takes out the first sequence for which `within_quota` (what its own tenant may have) and `fits` (what all share)
  // hold and that may pass those before it, and counts it against them. nullptr if there is none. The lines are looked
  // at in the order of `lines`, each as far as its share of kMaxLookahead goes.
  SchedulableSequence* PopFirstFitting(Condition fits, absl::Span<const int32_t> lines = {kFirstLine, 1},
                                       Condition within_quota = Everyone);
  // Whether all of the line that were looked at by the last PopFirstFitting, at least one, were outside their quota.
  bool HeldBack(int32_t line) const { return lines_[line].held_back; }

  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t max_requests() const { return max_requests_; }
  void set_max_requests(int64_t max_requests) { max_requests_ = max_requests; }  // >= 1; those queued already stay
  // A tenant's, in its order.
  absl::Span<SchedulableSequence* const> Line(int32_t line) const { return lines_[line].waiting; }
  absl::Span<const int32_t> busy_lines() const { return busy_; }  // those that are not empty, in no particular order
  // Those of the first `count` of each line for which `counts` holds, the lines taking turns; at most `count`.
  void Front(int64_t count, std::vector<SchedulableSequence*>& front, Condition counts = Everyone) const;
  int64_t waiting_tokens() const { return waiting_tokens_; }

  // Dies if an invariant does not hold; for tests.
  void CheckInvariants() const;

 private:
  struct TenantLine {
    std::vector<SchedulableSequence*> waiting;  // earliest queue_time first
    bool held_back = false;
  };
  static constexpr int32_t kFirstLine[] = {0};
  static bool Everyone(const SchedulableSequence&) { return true; }

  void Insert(SchedulableSequence* sequence, std::vector<SchedulableSequence*>::iterator before);
  SchedulableSequence* Take(int32_t line, int64_t position);

  int64_t max_requests_;
  const int64_t max_overtakes_;
  std::vector<TenantLine> lines_;  // [tenant]
  std::vector<int32_t> busy_;      // the lines that are not empty
  int64_t size_ = 0;
  int64_t waiting_tokens_ = 0;
  std::vector<SchedulableSequence*> passed_, passed_in_line_;  // of PopFirstFitting; kept for their capacity
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_REQUEST_QUEUE_H_
