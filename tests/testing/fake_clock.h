// A clock that stands still until a test moves it.
// Thread rule: thread-safe.
#ifndef RATION_TESTS_TESTING_FAKE_CLOCK_H_
#define RATION_TESTS_TESTING_FAKE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"

namespace ration::testing {

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    MutexLock lock(&mutex_);
    return now_;
  }
  // REQUIRES: duration >= 0.
  void Advance(absl::Duration duration) {
    MutexLock lock(&mutex_);
    now_ += duration;
  }

 private:
  mutable Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch() + absl::Seconds(1000);
};

}  // namespace ration::testing

#endif  // RATION_TESTS_TESTING_FAKE_CLOCK_H_
