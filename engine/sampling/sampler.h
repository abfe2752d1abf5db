// Turns one row of logits into a token: penalties, bias, temperature, top-k, top-p, min-p, seeded draw, log-probabilities.
// Layer: engine/sampling. One Sampler a sequence; thread-compatible.
#ifndef RATION_ENGINE_SAMPLING_SAMPLER_H_
#define RATION_ENGINE_SAMPLING_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "engine/request.h"

namespace ration {

class Sampler {
 public:
  // `params` validated before; `prompt` counts for the repetition penalty. `seed` is the one in use.
  Sampler(const SamplingParams& params, absl::Span<const int32_t> prompt, uint64_t seed, int64_t vocab_size);

  // Chooses the token at `position` (of the sequence: prompt length + tokens generated so far). The draw depends on
  // (seed, position) and the logits alone, so the same request gives the same tokens on every run. `forbidden` tokens (end-of-text
  // and stop tokens while min_new_tokens is not reached) get no probability. Also fills `logprob` if it is not null, with
  // `top_n` alternatives: natural logarithms of softmax(logits), before bias, penalties, temperature and truncation.
  // Greedy ties go to the lowest id. NaN logits count as -infinity. logits: [vocab_size].
  int32_t Sample(absl::Span<const float> logits, int64_t position, absl::Span<const int32_t> forbidden, int32_t top_n,
                 TokenLogprob* logprob);

 private:
  const SamplingParams params_;
  const uint64_t seed_;
  absl::flat_hash_map<int32_t, int32_t> generated_counts_;
  absl::flat_hash_map<int32_t, int32_t> prompt_counts_;  // only kept if the repetition penalty needs it
  std::vector<float> scratch_;                           // [vocab_size]
  std::vector<int32_t> candidates_;
};

}  // namespace ration

#endif  // RATION_ENGINE_SAMPLING_SAMPLER_H_
