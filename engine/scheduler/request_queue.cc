#include "engine/scheduler/request_queue.h"

#include <algorithm>

#include "engine/base/check.h"

namespace ration {

RequestQueue::RequestQueue(int64_t max_requests, int64_t max_overtakes)
    : max_requests_(max_requests), max_overtakes_(max_overtakes), lines_(1) {
  RATION_CHECK(max_requests >= 1 && max_overtakes >= 0);
}

void RequestQueue::SetLines(int32_t count, absl::FunctionRef<int32_t(const SchedulableSequence&)> tenant_of) {
  RATION_CHECK(count >= 1);
  std::vector<SchedulableSequence*> all;
  for (const TenantLine& line : lines_) all.insert(all.end(), line.waiting.begin(), line.waiting.end());
  std::stable_sort(all.begin(), all.end(), [](const SchedulableSequence* a, const SchedulableSequence* b) {
    return a->queue_time < b->queue_time;
  });
  lines_.assign(count, {});
  busy_.clear();
  for (SchedulableSequence* sequence : all) {
    sequence->tenant = tenant_of(*sequence);
    std::vector<SchedulableSequence*>& line = lines_[sequence->tenant].waiting;
    if (line.empty()) busy_.push_back(sequence->tenant);
    line.push_back(sequence);
  }
}

bool RequestQueue::TryPush(SchedulableSequence* sequence) {
  if (size() >= max_requests_) return false;
  const auto later = [](absl::Time time, const SchedulableSequence* other) { return time < other->queue_time; };
  std::vector<SchedulableSequence*>& line = lines_[sequence->tenant].waiting;
  Insert(sequence, std::upper_bound(line.begin(), line.end(), sequence->queue_time, later));
  return true;
}

void RequestQueue::PushBack(SchedulableSequence* sequence) {
  const auto earlier = [](const SchedulableSequence* other, absl::Time time) { return other->queue_time < time; };
  std::vector<SchedulableSequence*>& line = lines_[sequence->tenant].waiting;
  Insert(sequence, std::lower_bound(line.begin(), line.end(), sequence->queue_time, earlier));
}

void RequestQueue::Insert(SchedulableSequence* sequence, std::vector<SchedulableSequence*>::iterator before) {
  RATION_CHECK(sequence->place == SchedulableSequence::Place::kNone);
  sequence->place = SchedulableSequence::Place::kWaiting;
  std::vector<SchedulableSequence*>& line = lines_[sequence->tenant].waiting;
  if (line.empty()) busy_.push_back(sequence->tenant);
  line.insert(before, sequence);
  ++size_;
  waiting_tokens_ += sequence->prefill_tokens;
}

SchedulableSequence* RequestQueue::Take(int32_t line, int64_t position) {
  std::vector<SchedulableSequence*>& waiting = lines_[line].waiting;
  SchedulableSequence* const sequence = waiting[position];
  waiting.erase(waiting.begin() + position);
  if (waiting.empty()) busy_.erase(std::find(busy_.begin(), busy_.end(), line));
  --size_;
  waiting_tokens_ -= sequence->prefill_tokens;
  sequence->place = SchedulableSequence::Place::kNone;
  return sequence;
}

void RequestQueue::Remove(SchedulableSequence* sequence) {
  const std::vector<SchedulableSequence*>& line = lines_[sequence->tenant].waiting;
  const auto position = std::find(line.begin(), line.end(), sequence);
  RATION_CHECK(position != line.end());
  Take(sequence->tenant, position - line.begin());
}

SchedulableSequence* RequestQueue::PopFirstFitting(Condition fits, absl::Span<const int32_t> lines, Condition within_quota) {
  passed_.clear();
  int64_t left = kMaxLookahead;
  const int64_t share = std::max<int64_t>(1, kMaxLookahead / std::max<int64_t>(1, static_cast<int64_t>(lines.size())));
  for (const int32_t index : lines) lines_[index].held_back = false;
  for (const int32_t index : lines) {
    TenantLine& line = lines_[index];
    passed_in_line_.clear();
    const int64_t lookahead = std::min({static_cast<int64_t>(line.waiting.size()), share, left});
    line.held_back = lookahead > 0;
    for (int64_t i = 0; i < lookahead; ++i) {
      --left;
      SchedulableSequence* const sequence = line.waiting[i];
      const bool allowed = within_quota(*sequence);
      line.held_back = line.held_back && !allowed;
      if (allowed && fits(*sequence)) {
        for (SchedulableSequence* passed : passed_) ++passed->times_overtaken;
        for (SchedulableSequence* passed : passed_in_line_) ++passed->times_overtaken;
        return Take(index, i);
      }
      const bool may_be_passed = sequence->times_overtaken < max_overtakes_;
      if (!may_be_passed && allowed) return nullptr;
      if (!may_be_passed) break;  // its own tenant's requests wait behind it, others do not
      (allowed ? passed_ : passed_in_line_).push_back(sequence);
    }
  }
  return nullptr;
}

void RequestQueue::Front(int64_t count, std::vector<SchedulableSequence*>& front, Condition counts) const {
  front.clear();
  bool more = true;
  for (int64_t i = 0; more && i < count; ++i) {
    more = false;
    for (const int32_t tenant : busy_) {
      const std::vector<SchedulableSequence*>& line = lines_[tenant].waiting;
      if (i >= static_cast<int64_t>(line.size())) continue;
      more = true;
      if (counts(*line[i])) front.push_back(line[i]);
      if (static_cast<int64_t>(front.size()) == count) return;
    }
  }
}

void RequestQueue::CheckInvariants() const {
  int64_t tokens = 0, size = 0;
  for (size_t tenant = 0; tenant < lines_.size(); ++tenant) {
    const std::vector<SchedulableSequence*>& waiting = lines_[tenant].waiting;
    size += static_cast<int64_t>(waiting.size());
    RATION_CHECK(std::count(busy_.begin(), busy_.end(), static_cast<int32_t>(tenant)) == (waiting.empty() ? 0 : 1));
    for (size_t i = 0; i < waiting.size(); ++i) {
      const SchedulableSequence* const sequence = waiting[i];
      RATION_CHECK(sequence->place == SchedulableSequence::Place::kWaiting);
      RATION_CHECK(sequence->tenant == static_cast<int32_t>(tenant));
      RATION_CHECK(sequence->times_overtaken <= max_overtakes_);
      RATION_CHECK(sequence->kv == nullptr && sequence->computed_tokens == 0);
      RATION_CHECK(sequence->reservation == nullptr);
      RATION_CHECK(i == 0 || waiting[i - 1]->queue_time <= sequence->queue_time);
      tokens += sequence->prefill_tokens;
    }
  }
  RATION_CHECK(size == size_ && tokens == waiting_tokens_);
}

}  // namespace ration
