// The whole of ration_bench but the process's own matters (main.cc), so that tests can run it.
// Layer: client/bench.
#ifndef RATION_CLIENT_BENCH_RATION_BENCH_H_
#define RATION_CLIENT_BENCH_RATION_BENCH_H_

#include <mutex>
#include <string>

#include "absl/types/span.h"
#include "client/bench/load_runner.h"
#include "client/console.h"
#include "client/generation_client.h"

namespace ration {

// Ends a run early, from another thread. Thread-safe.
class Interruption {
 public:
  void Interrupt();
  bool interrupted() const { return calls_.cancelled(); }

 private:
  friend class BenchRun;
  // Null: nothing runs (any more).
  void Watch(LoadRunner* runner);

  Cancellation calls_;  // those before the run
  std::mutex mutex_;
  LoadRunner* runner_ = nullptr;  // guarded by mutex_
};

// Exit status: 0; 1 if the server could not be reached, a file not be read or written, or no request got as far as a
// token; 2 if the command line is wrong; 130 if it was interrupted (the report of what there is comes all the same).
int RunRationBench(absl::Span<const std::string> arguments, const Console& console, Interruption* interruption);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_RATION_BENCH_H_
