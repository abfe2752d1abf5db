// Notices when the engine's thread hangs: it has work and has not begun a step for too long. A step that is merely long (a large
// prefill on a slow CPU) looks the same, so the time to wait must be longer than the longest step.
// Layer: server. Thread-safe.
#ifndef RATION_SERVER_ENGINE_WATCH_H_
#define RATION_SERVER_ENGINE_WATCH_H_

#include <functional>

#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/engine_runner.h"
#include "server/timer_thread.h"

namespace ration {

class EngineWatch {
 public:
  struct Options {
    absl::Duration stall_timeout = absl::Seconds(60);  // on the clock; 0: never stalled
    const EngineRunner* runner = nullptr;
    const Clock* clock = nullptr;  // the engine's
    // Told of every change, on the timer's thread; must not block.
    std::function<void(bool stalled)> on_change;
  };
  explicit EngineWatch(Options options);

  struct State {
    bool stalled = false;
    absl::Duration step_age;  // since the last step; an idle engine takes some, too
  };
  State Look() const;

  // Looks several times a second from now on. The timer must be gone before this object.
  void Start(TimerThread* timer);

 private:
  void Check();

  const Options options_;
  const absl::Time created_;
  TimerThread* timer_ = nullptr;
  bool stalled_ = false;  // the timer's thread only
};

}  // namespace ration

#endif  // RATION_SERVER_ENGINE_WATCH_H_
