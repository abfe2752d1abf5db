#include "server/signal_watcher.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

namespace ration {

absl::StatusOr<std::unique_ptr<SignalWatcher>> SignalWatcher::Create() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0) {
    return absl::InternalError(absl::StrCat("cannot block signals: ", std::strerror(error)));
  }
  const int fd = signalfd(-1, &signals, SFD_CLOEXEC);
  if (fd < 0) return absl::InternalError(absl::StrCat("signalfd: ", std::strerror(errno)));
  return absl::WrapUnique(new SignalWatcher(fd));
}

SignalWatcher::~SignalWatcher() { close(fd_); }

int SignalWatcher::Wait() {
  signalfd_siginfo info{};
  while (read(fd_, &info, sizeof(info)) != static_cast<ssize_t>(sizeof(info))) {
    if (errno != EINTR) return SIGTERM;
  }
  return static_cast<int>(info.ssi_signo);
}

}  // namespace ration
