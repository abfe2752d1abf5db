// The load generator's process: streams and Ctrl-C. Everything else happens in RunRationBench.
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "client/bench/ration_bench.h"
#include "client/console.h"

namespace {

// On a thread of its own, where a run may be ended; a signal handler could not do it. The first signal ends the run
// with a report, the second the process.
void WatchSignals(sigset_t signals, ration::Interruption* interruption) {
  int number = 0;
  sigwait(&signals, &number);
  interruption->Interrupt();
  sigwait(&signals, &number);
  _exit(128 + number);
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any other thread starts: they inherit it
  static ration::Interruption interruption;       // outlives the detached thread
  std::thread(WatchSignals, signals, &interruption).detach();

  std::ios::sync_with_stdio(false);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const int exit_status = ration::RunRationBench(arguments, ration::Console::Standard(), &interruption);
  std::cout.flush();
  _exit(exit_status);  // the signal thread is still waiting; nothing is left to tear down
}
