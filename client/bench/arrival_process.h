// When requests arrive: Poisson and gamma processes of a given rate, reproducible from a seed.
// Not here: what arrives (workload.h), arrivals recorded in a file (trace_file.h), closed loops, which have no arrival
// times.
// Layer: client/bench. Thread-compatible.
#ifndef RATION_CLIENT_BENCH_ARRIVAL_PROCESS_H_
#define RATION_CLIENT_BENCH_ARRIVAL_PROCESS_H_

#include <cstdint>
#include <random>

namespace ration {

class ArrivalProcess {
 public:
  struct Options {
    double rate_per_second = 1;  // > 0, finite; mean rate
    // > 0, finite. Shape of the gamma distribution of the gaps, whose mean stays 1 / rate: 1 is a Poisson process,
    // below 1 arrivals come in bursts, above 1 they are more regular. The coefficient of variation of the gaps is 1 /
    // sqrt(burstiness).
    double burstiness = 1;
    uint64_t seed = 0;
  };

  // REQUIRES: the options are in range.
  explicit ArrivalProcess(const Options& options);

  // Seconds from the start to the next arrival; never less than the one before.
  double NextSeconds();

 private:
  std::mt19937_64 random_;
  std::gamma_distribution<double> gap_seconds_;
  double seconds_ = 0;
};

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_ARRIVAL_PROCESS_H_
