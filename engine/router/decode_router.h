// Decode routing: the streaming twin of progressive top-k. A decoded token takes the first expert e whose score reaches a
// threshold tau_e; the thresholds are quantiles of S_e among the tokens not taken by earlier experts, computed for the ratio
// in force from a sample of score vectors measured on held-out text and shipped with the checkpoint, and shifted by feedback
// on the sequence's own counts. At the one ratio a checkpoint was trained for, the paper's argmax may be used instead.
// Layer: engine/router. Immutable after Create; thread-safe. No state is shared between sequences.
//
// Invariants (threshold rule, counts starting from NextQuota's): (1) experts 0..j together never hold more than
// C_j * n + slack of a sequence's n tokens, C_j the summed share: this bounds memory. (2) They hold fewer than
// C_j * n - slack - 1 only while (1) forces a token past j. (3) An expert with share 0 gets no token.
#ifndef RATION_ENGINE_ROUTER_DECODE_ROUTER_H_
#define RATION_ENGINE_ROUTER_DECODE_ROUTER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/router/expert_spec.h"
#include "engine/router/routing.h"

namespace ration {

enum class DecodeRule {
  kThreshold,  // tracks the ratio in force
  kArgmax,     // the paper's rule; tracks whatever the training gave
};

// Score vectors of held-out tokens, sorted once, so that a router for one more ratio costs O(samples). Immutable; thread-safe.
class SortedCalibration {
 public:
  // Per layer, [num_samples, num_experts] row-major; a layer's may be empty, and so may be the whole. InvalidArgument if a table is not
  // whole rows of finite scores, or the layers do not match.
  static absl::StatusOr<SortedCalibration> Create(int num_layers, int num_experts, absl::Span<const std::vector<float>> samples);

  int num_layers() const { return num_layers_; }
  int num_experts() const { return num_experts_; }

 private:
  friend class DecodeRouter;
  struct Sample {
    float score;
    int32_t token;
  };
  SortedCalibration() = default;

  int num_layers_ = 0;
  int num_experts_ = 0;
  std::vector<int64_t> num_tokens_;                       // [layer]
  std::vector<std::vector<std::vector<Sample>>> sorted_;  // [layer][expert]: descending, ties to the lower token
};

class DecodeRouter {
 public:
  // Tokens that experts 0..j together may hold above or below their share. A middle expert's count is the difference of two such
  // sums, so over a stretch of tokens it can be off by four of these and a few tokens for rounding: 36 over 2,000, 1.8 %, under
  // the promised 2 points whatever the scores. Not less than kMaxExperts: prefill's quotas alone may be as far off.
  static constexpr int64_t kSlackTokens = 8;

  struct Options {
    int num_layers = 0;  // > 0
    Ratio ratio;
    DecodeRule rule = DecodeRule::kThreshold;
    // Per layer, score vectors of held-out tokens, [num_samples, num_experts] row-major; a layer's may be empty, which assumes
    // scores spread evenly over [0, 1] and leaves the rest to the feedback.
    std::vector<std::vector<float>> calibration;
  };
  // InvalidArgument if a calibration table is not whole rows of finite scores, or the layers do not match.
  static absl::StatusOr<std::unique_ptr<const DecodeRouter>> Create(const Options& options);
  // The same from a calibration that is sorted already. REQUIRES: as many experts.
  static std::unique_ptr<const DecodeRouter> Create(const Ratio& ratio, DecodeRule rule, const SortedCalibration& calibration);

  // The expert of the next token. scores: [num_experts]; so_far: this sequence's counts in this layer.
  int Route(int layer, absl::Span<const float> scores, const ExpertCounts& so_far) const;

  // The most tokens that experts 0..expert together can hold in any layer of a sequence after `prompt_tokens` prefilled and
  // `decoded_tokens` decoded tokens. Monotone in all arguments; equals the total for the last expert.
  int64_t MaxPrefixTokens(int expert, int64_t prompt_tokens, int64_t decoded_tokens) const;

  const Ratio& ratio() const { return ratio_; }
  DecodeRule rule() const { return rule_; }

 private:
  DecodeRouter() = default;

  // Experts whose choice keeps invariants (1) and (2): [lowest, highest], lowest winning a conflict.
  int Clamp(int expert, const ExpertCounts& so_far) const;

  Ratio ratio_;
  DecodeRule rule_ = DecodeRule::kThreshold;
  int64_t prefix_ppm_[kMaxExperts] = {};  // C_j
  // [layer][expert]: scores S_e of the sample tokens not taken by earlier experts, descending.
  std::vector<std::vector<std::vector<float>>> tables_;
};

}  // namespace ration

#endif  // RATION_ENGINE_ROUTER_DECODE_ROUTER_H_
