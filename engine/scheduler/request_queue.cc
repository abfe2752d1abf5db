#include "engine/scheduler/request_queue.h"

#include <algorithm>

#include "engine/base/check.h"

namespace ration {

RequestQueue::RequestQueue(int64_t max_requests, int64_t max_overtakes)
    : max_requests_(max_requests), max_overtakes_(max_overtakes) {
  RATION_CHECK(max_requests >= 1 && max_overtakes >= 0);
}

bool RequestQueue::TryPush(SchedulableSequence* sequence) {
  RATION_CHECK(sequence->place == SchedulableSequence::Place::kNone);
  if (size() >= max_requests_) return false;
  sequence->place = SchedulableSequence::Place::kWaiting;
  const auto later = [](absl::Time time, const SchedulableSequence* other) { return time < other->queue_time; };
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), sequence->queue_time, later), sequence);
  waiting_tokens_ += sequence->prefill_tokens;
  return true;
}

void RequestQueue::PushBack(SchedulableSequence* sequence) {
  RATION_CHECK(sequence->place == SchedulableSequence::Place::kNone);
  sequence->place = SchedulableSequence::Place::kWaiting;
  const auto earlier = [](const SchedulableSequence* other, absl::Time time) { return other->queue_time < time; };
  waiting_.insert(std::lower_bound(waiting_.begin(), waiting_.end(), sequence->queue_time, earlier), sequence);
  waiting_tokens_ += sequence->prefill_tokens;
}

SchedulableSequence* RequestQueue::Take(std::vector<SchedulableSequence*>::iterator position) {
  SchedulableSequence* const sequence = *position;
  waiting_.erase(position);
  waiting_tokens_ -= sequence->prefill_tokens;
  sequence->place = SchedulableSequence::Place::kNone;
  return sequence;
}

void RequestQueue::Remove(SchedulableSequence* sequence) {
  const auto position = std::find(waiting_.begin(), waiting_.end(), sequence);
  RATION_CHECK(position != waiting_.end());
  Take(position);
}

SchedulableSequence* RequestQueue::PopFirstFitting(absl::FunctionRef<bool(const SchedulableSequence&)> fits) {
  const int64_t lookahead = std::min(size(), kMaxLookahead);
  for (int64_t i = 0; i < lookahead; ++i) {
    if (fits(*waiting_[i])) {
      for (int64_t passed = 0; passed < i; ++passed) ++waiting_[passed]->times_overtaken;
      return Take(waiting_.begin() + i);
    }
    if (waiting_[i]->times_overtaken >= max_overtakes_) return nullptr;
  }
  return nullptr;
}

void RequestQueue::CheckInvariants() const {
  int64_t tokens = 0;
  for (size_t i = 0; i < waiting_.size(); ++i) {
    const SchedulableSequence* const sequence = waiting_[i];
    RATION_CHECK(sequence->place == SchedulableSequence::Place::kWaiting);
    RATION_CHECK(sequence->times_overtaken <= max_overtakes_);
    RATION_CHECK(sequence->kv == nullptr && sequence->computed_tokens == 0);
    RATION_CHECK(sequence->reservation == nullptr);
    RATION_CHECK(i == 0 || waiting_[i - 1]->queue_time <= sequence->queue_time);
    tokens += sequence->prefill_tokens;
  }
  RATION_CHECK(tokens == waiting_tokens_);
}

}  // namespace ration
