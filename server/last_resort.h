// Ends the process when its own orderly end takes too long, say because a thread hangs that would have to be joined: a supervisor
// restarts a process that has gone, not one that is about to go.
// Layer: server. Thread-compatible: one owner; threads of its own, which wait for nobody: who reads the log may be what hangs.
#ifndef RATION_SERVER_LAST_RESORT_H_
#define RATION_SERVER_LAST_RESORT_H_

#include "absl/time/time.h"
#include "server/timer_thread.h"

namespace ration {

class LastResort {
 public:
  static constexpr int kExitStatus = 3;

  // After `time` (wall clock) the process logs an error and ends with kExitStatus, without destructors, unless this is gone by then.
  explicit LastResort(absl::Duration time);

 private:
  TimerThread timer_;
  TimerThread without_log_;  // if the log takes no line
};

}  // namespace ration

#endif  // RATION_SERVER_LAST_RESORT_H_
