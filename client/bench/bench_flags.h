// The command line of ration_bench: flags, their help and their limits.
// Layer: client/bench. Thread-compatible.
#ifndef RATION_CLIENT_BENCH_BENCH_FLAGS_H_
#define RATION_CLIENT_BENCH_BENCH_FLAGS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/bench/latency_report.h"
#include "client/bench/load_runner.h"
#include "client/bench/workload.h"
#include "client/transport.h"

namespace ration {

enum class ArrivalMode { kClosed, kPoisson, kGamma, kTrace };

struct BenchOptions {
  bool help = false;
  std::string server;   // HOST:PORT
  std::string control;  // HOST:PORT; empty: no state samples
  Transport transport;
  ArrivalMode mode = ArrivalMode::kClosed;
  double rate = 0;        // of kPoisson and kGamma
  double burstiness = 1;  // of kGamma
  std::string trace;      // of kTrace
  double speedup = 1;
  double length_scale = 1;
  LengthRange prompt_tokens{64, 64};
  LengthRange output_tokens{64, 64};
  std::string prompt_file;  // empty: random token ids
  std::optional<int64_t> max_requests;
  LoadOptions load;  // with the seed
  Slo slo;
  std::string json;      // file, "-" for standard output, empty for none
  std::string timeline;  // file; empty: none
  std::string plot;      // file; empty: none
};

// InvalidArgument names the flag, its limit and the value. If `options->help` is set, nothing else was checked.
absl::Status ParseBenchFlags(absl::Span<const std::string> arguments, BenchOptions* options);

std::string BenchHelp(int columns);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_BENCH_FLAGS_H_
