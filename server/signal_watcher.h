// Turns SIGTERM and SIGINT into something main can wait for: the signals are blocked and read from a signalfd, so nothing ever runs
// in a signal handler.
// Layer: server. Create it before the first thread, so that every thread inherits the blocked signals.
#ifndef RATION_SERVER_SIGNAL_WATCHER_H_
#define RATION_SERVER_SIGNAL_WATCHER_H_

#include <memory>

#include "absl/status/statusor.h"

namespace ration {

class SignalWatcher {
 public:
  // Internal if the kernel refuses. Also ignores SIGPIPE: a write to a closed connection is an error, not an end.
  static absl::StatusOr<std::unique_ptr<SignalWatcher>> Create();
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

  // Waits for the next signal and returns its number. Any thread, one at a time.
  int Wait();

 private:
  explicit SignalWatcher(int fd) : fd_(fd) {}

  const int fd_;
};

}  // namespace ration

#endif  // RATION_SERVER_SIGNAL_WATCHER_H_
