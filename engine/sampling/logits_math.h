// The passes over a whole row of logits: maximum, exponentials, sums, prefix search. Sums are taken in a fixed order and the
// exponential is our own, so the results are the same bits on every machine, whatever its vector width or C library.
// Not here: what the numbers mean (sampler.cc).
// Layer: engine/sampling. Pure functions; thread-safe.
#ifndef RATION_ENGINE_SAMPLING_LOGITS_MATH_H_
#define RATION_ENGINE_SAMPLING_LOGITS_MATH_H_

#include <cstdint>

#include "absl/types/span.h"

namespace ration {

// What a logit counts as: NaN as -infinity, +infinity as the largest float (so that differences stay defined).
inline float CleanLogit(float logit) {
  constexpr float kMax = 3.402823466e+38f;
  if (!(logit >= -kMax)) return -__builtin_inff();
  return logit < kMax ? logit : kMax;
}

// The largest cleaned logit; -infinity if there is none above.
float MaxLogit(absl::Span<const float> logits);

// The lowest index whose cleaned logit is the largest; 0 if all are -infinity. -1 if `logits` is empty.
int64_t ArgMaxLogit(absl::Span<const float> logits);

// e^x for x <= 0, relative error below 3e-7; 0 below -87.
float ExpNonPositive(float x);

// weights[i] = exp((logits[i] - max) / temperature) of the cleaned logits; returns their sum.
// REQUIRES: max is finite and no logit is above it; temperature > 0; sizes equal. In place is allowed.
double ExpWeights(absl::Span<const float> logits, float max, float temperature, absl::Span<float> weights);

// The sum of exp(logits[i] - max) of the cleaned logits. Same requirements.
double SumExp(absl::Span<const float> logits, float max);

// The first index i with weights[0] + ... + weights[i] > target, or the last index with a positive weight if rounding leaves
// none. -1 if no weight is positive. REQUIRES: weights >= 0, target >= 0.
int64_t PrefixSearch(absl::Span<const float> weights, double target);

}  // namespace ration

#endif  // RATION_ENGINE_SAMPLING_LOGITS_MATH_H_
