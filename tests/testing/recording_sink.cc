#include "tests/testing/recording_sink.h"

#include "absl/time/clock.h"
#include "engine/base/check.h"

namespace ration::testing {

bool RecordingSink::OnDelta(GenerationDelta delta) {
  MutexLock lock(&mutex_);
  RATION_CHECK(!finish_.has_value());
  RATION_CHECK(delta.prompt.has_value() == (num_deltas_ == 0));
  RATION_CHECK(delta.logprobs.empty() || delta.logprobs.size() == delta.token_ids.size());
  ++num_deltas_;
  ++buffered_;
  if (delta.prompt.has_value()) prompt_ = delta.prompt;
  token_ids_.insert(token_ids_.end(), delta.token_ids.begin(), delta.token_ids.end());
  logprobs_.insert(logprobs_.end(), delta.logprobs.begin(), delta.logprobs.end());
  text_ += delta.text;
  finish_ = std::move(delta.finish);
  if (finish_.has_value()) {
    RATION_CHECK(finish_->generated_tokens == static_cast<int64_t>(token_ids_.size()));
    RATION_CHECK(finish_->prompt_tokens == prompt_->prompt_tokens);
  }
  changed_.SignalAll();
  return buffered_ < capacity_;
}

void RecordingSink::Drain() {
  MutexLock lock(&mutex_);
  buffered_ = 0;
}

bool RecordingSink::WaitForFinish(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (!finish_.has_value()) {
    if (absl::Now() >= deadline) return false;
    changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
  }
  return true;
}

bool RecordingSink::WaitForDeltas(int64_t count, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(&mutex_);
  while (num_deltas_ < count) {
    if (absl::Now() >= deadline) return false;
    changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
  }
  return true;
}

std::vector<int32_t> RecordingSink::token_ids() const {
  MutexLock lock(&mutex_);
  return token_ids_;
}

std::vector<TokenLogprob> RecordingSink::logprobs() const {
  MutexLock lock(&mutex_);
  return logprobs_;
}

std::string RecordingSink::text() const {
  MutexLock lock(&mutex_);
  return text_;
}

std::optional<PromptInfo> RecordingSink::prompt() const {
  MutexLock lock(&mutex_);
  return prompt_;
}

std::optional<FinishInfo> RecordingSink::finish() const {
  MutexLock lock(&mutex_);
  return finish_;
}

int64_t RecordingSink::num_deltas() const {
  MutexLock lock(&mutex_);
  return num_deltas_;
}

}  // namespace ration::testing
