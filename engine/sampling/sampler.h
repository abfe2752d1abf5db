// Turns one row of logits into a token: penalties, bias, temperature, top-k, top-p, min-p, seeded draw, log-probabilities.
// Layer: engine/sampling. One Sampler a sequence; thread-compatible. The large buffers belong to the calling thread, not to the
// Sampler, so a waiting sequence costs next to nothing.
//
// Order: logit bias, repetition penalty, frequency and presence penalty, forbidden tokens, temperature, min-p, top-k, top-p,
// draw. Each of the three filters keeps the likeliest tokens of what is left (equal ones: the lower id first):
//   min-p  those with at least min_p times the probability of the likeliest,
//   top-k  exactly k,
//   top-p  the fewest whose share of what the other two left is at least top_p.
// The draw takes the first id, in ascending order, at which the kept tokens' cumulative probability passes a uniform number.
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
  // Below this temperature sampling is greedy: the draw could no longer tell tokens apart but by rounding.
  static constexpr float kGreedyTemperature = 1e-5f;

  // `params` validated before; `prompt` counts for the repetition penalty. `seed` is the one in use.
  Sampler(const SamplingParams& params, absl::Span<const int32_t> prompt, uint64_t seed, int64_t vocab_size);

  // Chooses the token at `position` (of the sequence: prompt length + tokens generated so far) and counts it for the penalties.
  // The draw depends on (seed, position) and the logits alone, so the same request gives the same tokens on every run and
  // machine. `forbidden` tokens (end-of-text and stop tokens while min_new_tokens is not reached) get no probability. Also fills
  // `logprob` if it is not null, with `top_n` alternatives: natural logarithms of softmax(logits), before bias, penalties,
  // temperature and truncation; tokens without any probability are not among the alternatives.
  // Greedy ties go to the lowest id. NaN logits count as -infinity; if all are, the lowest id that is not forbidden is chosen.
  // logits: [vocab_size].
  int32_t Sample(absl::Span<const float> logits, int64_t position, absl::Span<const int32_t> forbidden, int32_t top_n,
                 TokenLogprob* logprob);

 private:
  int32_t Choose(absl::Span<const float> logits, int64_t position, absl::Span<const int32_t> forbidden) const;
  // Applies bias and penalties to `row`.
  void EditLogits(absl::Span<float> row) const;
  // Draws from softmax(row / temperature), filtered. `max` is the largest logit of the row, finite.
  int32_t Draw(absl::Span<const float> row, float max, int64_t position) const;

  const SamplingParams params_;
  const uint64_t seed_;
  const int64_t vocab_size_;
  const bool has_penalties_;
  // Times generated, for tokens of the output and, if the repetition penalty needs them, of the prompt (0). Empty without
  // penalties.
  absl::flat_hash_map<int32_t, int32_t> generated_counts_;
};

}  // namespace ration

#endif  // RATION_ENGINE_SAMPLING_SAMPLER_H_
