// Layer: client/bench.
#include "client/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ration {

double Percentile(absl::Span<const double> sorted, double percent) {
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (rank - static_cast<double>(below));
}

Distribution Describe(std::vector<double> samples) {
  Distribution result;
  if (samples.empty()) return result;
  std::sort(samples.begin(), samples.end());
  result.count = static_cast<int64_t>(samples.size());
  result.mean = std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
  result.p50 = Percentile(samples, 50);
  result.p90 = Percentile(samples, 90);
  result.p95 = Percentile(samples, 95);
  result.p99 = Percentile(samples, 99);
  result.max = samples.back();
  return result;
}

}  // namespace ration
