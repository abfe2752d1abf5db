// Monotonic time for the engine, so that tests can drive it by hand.
// Thread rule: Now() may be called from any thread.
#ifndef RATION_ENGINE_BASE_CLOCK_H_
#define RATION_ENGINE_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace ration {

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes backwards; the zero point is arbitrary but the same for the life of the process.
  virtual absl::Time Now() const = 0;

  // The process's monotonic clock. Never null, never destroyed.
  static const Clock* Real();
};

}  // namespace ration

#endif  // RATION_ENGINE_BASE_CLOCK_H_
