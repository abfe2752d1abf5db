#include "server/timer_thread.h"

#include <utility>

#include "absl/time/clock.h"

namespace ration {

TimerThread::TimerThread() {
  thread_ = std::thread([this] { Loop(); });
}

TimerThread::~TimerThread() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.Signal();
  }
  thread_.join();
}

void TimerThread::At(absl::Time time, std::function<void()> function) {
  MutexLock lock(&mutex_);
  pending_.emplace(time, std::move(function));
  changed_.Signal();
}

void TimerThread::Loop() {
  for (;;) {
    std::function<void()> function;
    {
      MutexLock lock(&mutex_);
      for (;;) {
        if (stop_) return;
        const absl::Duration left =
            pending_.empty() ? absl::InfiniteDuration() : pending_.begin()->first - absl::Now();
        if (left <= absl::ZeroDuration()) break;
        if (left == absl::InfiniteDuration()) {
          changed_.Wait(&mutex_);
        } else {
          changed_.WaitWithTimeout(&mutex_, left);
        }
      }
      function = std::move(pending_.begin()->second);
      pending_.erase(pending_.begin());
    }
    function();
  }
}

}  // namespace ration
