// The command-line client. Everything happens in RunRationctl; here are only the process's own matters: streams and Ctrl-C.
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "client/commands.h"
#include "client/console.h"
#include "client/generation_client.h"

namespace {

// Waits for Ctrl-C or SIGTERM on a thread of its own, where cancelling a call is allowed; a signal handler could not do it. It cancels
// the call in progress, so that the server frees its memory at once; without a call, or if that was cancelled before, the process ends.
void WatchSignals(sigset_t signals, ration::Cancellation* cancellation) {
  int number = 0;
  do {
    sigwait(&signals, &number);
  } while (!cancellation->cancelled() && cancellation->Cancel());
  _exit(128 + number);
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any other thread starts: they inherit it
  static ration::Cancellation cancellation;       // outlives the detached thread
  std::thread(WatchSignals, signals, &cancellation).detach();

  std::ios::sync_with_stdio(false);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const int exit_status = ration::RunRationctl(arguments, ration::Console::Standard(), &cancellation);
  std::cout.flush();
  _exit(exit_status);  // the signal thread is still waiting; nothing is left to tear down
}
