// The sampler's definition, written out plainly in double precision with full sorts: what the fast one is compared with.
#ifndef RATION_TESTS_ENGINE_SAMPLING_NAIVE_SAMPLER_H_
#define RATION_TESTS_ENGINE_SAMPLING_NAIVE_SAMPLER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "engine/request.h"

namespace ration::testing {

// The probability of each token. `output` are the tokens generated so far. Temperature > 0.
inline std::vector<double> NaiveDistribution(const std::vector<float>& logits, const SamplingParams& params,
                                             const std::vector<int32_t>& prompt, const std::vector<int32_t>& output,
                                             const std::vector<int32_t>& forbidden) {
  const double kMinusInfinity = -std::numeric_limits<double>::infinity();
  const size_t n = logits.size();
  std::vector<double> x(logits.begin(), logits.end());
  for (double& value : x) {
    if (std::isnan(value)) value = kMinusInfinity;
  }
  for (const auto& [id, bias] : params.logit_bias) x[id] += bias;
  std::map<int32_t, int> counts;
  for (int32_t id : output) ++counts[id];
  for (size_t i = 0; i < n; ++i) {
    const int32_t id = static_cast<int32_t>(i);
    const bool seen = counts.count(id) > 0 || std::count(prompt.begin(), prompt.end(), id) > 0;
    if (seen) x[i] = x[i] > 0 ? x[i] / params.repetition_penalty : x[i] * params.repetition_penalty;
    if (counts.count(id) > 0) x[i] -= params.frequency_penalty * counts[id] + params.presence_penalty;
  }
  for (int32_t id : forbidden) x[id] = kMinusInfinity;

  const double max = *std::max_element(x.begin(), x.end());
  std::vector<double> p(n);
  for (size_t i = 0; i < n; ++i) p[i] = std::exp((x[i] - max) / params.temperature);

  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  size_t keep = n;
  if (params.top_k > 0) keep = std::min<size_t>(keep, params.top_k);
  while (keep > 0 && p[order[keep - 1]] < params.min_p) --keep;
  double total = 0;
  for (size_t i = 0; i < keep; ++i) total += p[order[i]];
  if (params.top_p < 1) {
    double mass = 0;
    for (size_t i = 0; i < keep; ++i) {
      mass += p[order[i]];
      if (mass >= params.top_p * total) {
        keep = i + 1;
        total = mass;
      }
    }
  }
  std::vector<double> result(n, 0.0);
  for (size_t i = 0; i < keep; ++i) result[order[i]] = p[order[i]] / total;
  return result;
}

}  // namespace ration::testing

#endif  // RATION_TESTS_ENGINE_SAMPLING_NAIVE_SAMPLER_H_
