// Exact statistics of stored samples.
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_STATISTICS_H_
#define RATION_CLIENT_BENCH_STATISTICS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace ration {

// All 0 if there are no samples.
struct Distribution {
  int64_t count = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
};

// The value below which `percent` of the samples lie, linear between neighbours (numpy's default, which vLLM's
// benchmark uses). REQUIRES: `sorted` ascending and not empty, 0 <= percent <= 100.
double Percentile(absl::Span<const double> sorted, double percent);

Distribution Describe(std::vector<double> samples);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_STATISTICS_H_
