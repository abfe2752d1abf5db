// Gaps are drawn independently; a gamma distribution of shape 1 is the exponential one, so that one code serves both
// processes.
// Layer: client/bench.
#include "client/bench/arrival_process.h"

namespace ration {

ArrivalProcess::ArrivalProcess(const Options& options)
    : random_(options.seed), gap_seconds_(options.burstiness, 1 / (options.rate_per_second * options.burstiness)) {}

double ArrivalProcess::NextSeconds() {
  seconds_ += gap_seconds_(random_);
  return seconds_;
}

}  // namespace ration
