// The routing rules as pure functions: which expert takes each token, given router scores and a ratio. The server and the
// trainer both call these, so they cannot drift apart. See docs/routing.md.
// Source: mixSGA (EMNLP 2025): progressive top-k (prefill), argmax (decode at the trained ratio). The quota bookkeeping is the
// quota method of Balinski and Young (1975): house-monotone, every count within one token of its share.
// Layer: engine/router. No state, no allocation beyond what is named; thread-safe.
#ifndef RATION_ENGINE_ROUTER_ROUTING_H_
#define RATION_ENGINE_ROUTER_ROUTING_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "engine/router/expert_spec.h"

namespace ration {

// Tokens given to each expert so far (of one sequence in one layer, or of anything else that is counted).
struct ExpertCounts {
  std::array<int64_t, kMaxExperts> count{};
  int64_t total = 0;

  void Add(int expert) {
    ++count[expert];
    ++total;
  }
};

// How many of the next `num_tokens` tokens each expert takes so that, over all tokens counted in `so_far` and these, every
// expert's count stays within one token of ratio.share(e) * total. If `so_far` is off by more (argmax routing, a changed
// ratio), the quotas lead back as fast as they can. The result sums to num_tokens; depends on nothing but the arguments.
// Cost: O(num_tokens * num_experts).
ExpertCounts NextQuota(const Ratio& ratio, const ExpertCounts& so_far, int64_t num_tokens);

// The counts to go on with when the ratio changes from `from` to `to`: the same total, spread as `to` has it, each expert as far above
// or below its share as before, to a token (an expert without a share in `to` has none and is owed nothing). So a change of ratio
// concerns the tokens to come, and no debt is lost. `keep_debts` false: exactly on its shares, to a token.
ExpertCounts Rebase(const Ratio& from, const Ratio& to, const ExpertCounts& so_far, bool keep_debts);

// Progressive top-k over one routing window: expert 0 takes the quota.count[0] tokens with the highest score for it, expert 1
// the quota.count[1] highest of the rest, and so on; the last takes what remains. Ties go to the lower index.
// scores: [num_tokens, num_experts]; experts: [num_tokens], out. A NaN score counts as the lowest.
// REQUIRES: quota.total == num_tokens == experts.size(), scores.size() == num_tokens * num_experts.
void ProgressiveTopK(absl::Span<const float> scores, int num_experts, const ExpertCounts& quota, absl::Span<uint8_t> experts);

// The paper's decode rule: the expert with the highest score, ties to the lower index; NaN counts as the lowest. scores: [num_experts].
int ArgmaxExpert(absl::Span<const float> scores);

}  // namespace ration

#endif  // RATION_ENGINE_ROUTER_ROUTING_H_
