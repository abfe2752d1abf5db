// Runs functions at given times on one thread: the rhythm of watches and waits, without a thread for each.
// Layer: server. Thread-safe. Functions must not block.
#ifndef RATION_SERVER_TIMER_THREAD_H_
#define RATION_SERVER_TIMER_THREAD_H_

#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"

namespace ration {

class TimerThread {
 public:
  TimerThread();
  // Drops what has not run, then joins.
  ~TimerThread();
  TimerThread(const TimerThread&) = delete;
  TimerThread& operator=(const TimerThread&) = delete;

  // Runs `function` once at `time` (wall clock), or soon if that has passed. May be called from a function that runs.
  void At(absl::Time time, std::function<void()> function);

 private:
  void Loop();

  Mutex mutex_;
  CondVar changed_;
  std::multimap<absl::Time, std::function<void()>> pending_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: starts when everything above is ready
};

}  // namespace ration

#endif  // RATION_SERVER_TIMER_THREAD_H_
