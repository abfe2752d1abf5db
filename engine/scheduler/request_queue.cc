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
  waiting_.push_back(sequence);
  waiting_tokens_ += sequence->prompt_tokens;
  return true;
}

SchedulableSequence* RequestQueue::Take(std::deque<SchedulableSequence*>::iterator position) {
  SchedulableSequence* const sequence = *position;
  waiting_.erase(position);
  waiting_tokens_ -= sequence->prompt_tokens;
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
  RATION_CHECK(size() <= max_requests_);
  int64_t tokens = 0;
  for (const SchedulableSequence* sequence : waiting_) {
    RATION_CHECK(sequence->place == SchedulableSequence::Place::kWaiting);
    RATION_CHECK(sequence->times_overtaken <= max_overtakes_);
    RATION_CHECK(sequence->kv == nullptr && sequence->computed_tokens == 0);
    tokens += sequence->prompt_tokens;
  }
  RATION_CHECK(tokens == waiting_tokens_);
}

}  // namespace ration
