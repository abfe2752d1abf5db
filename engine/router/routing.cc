#include "engine/router/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/base/check.h"

namespace ration {
namespace {

// a/b > c/d for b, d > 0, without overflow or rounding.
bool FractionGreater(int64_t a, int64_t b, int64_t c, int64_t d) {
  return static_cast<__int128>(a) * d > static_cast<__int128>(c) * b;
}

}  // namespace

ExpertCounts NextQuota(const Ratio& ratio, const ExpertCounts& so_far, int64_t num_tokens) {
  const int num_experts = ratio.num_experts();
  ExpertCounts state = so_far;
  for (int64_t t = 0; t < num_tokens; ++t) {
    // Among the experts still below their upper quota at the new total, the one most under-represented by
    // share / (count + 1). At least one is below: the counts sum to total, the shares of total + 1 to total + 1.
    const int64_t next_total = state.total + 1;
    int best = -1;
    for (int e = 0; e < num_experts; ++e) {
      if (ratio.ppm(e) == 0) continue;
      const bool below_quota = static_cast<__int128>(state.count[e]) * Ratio::kOne < static_cast<__int128>(ratio.ppm(e)) * next_total;
      if (!below_quota) continue;
      if (best < 0 || FractionGreater(ratio.ppm(e), state.count[e] + 1, ratio.ppm(best), state.count[best] + 1)) best = e;
    }
    RATION_CHECK(best >= 0);
    state.Add(best);
  }
  ExpertCounts quota;
  for (int e = 0; e < num_experts; ++e) quota.count[e] = state.count[e] - so_far.count[e];
  quota.total = num_tokens;
  return quota;
}

ExpertCounts Rebase(const Ratio& from, const Ratio& to, const ExpertCounts& so_far, bool keep_debts) {
  const int num_experts = to.num_experts();
  RATION_CHECK(from.num_experts() == num_experts);
  // In parts per million of a token.
  const auto share = [&so_far](const Ratio& ratio, int e) { return static_cast<__int128>(ratio.ppm(e)) * so_far.total; };
  std::array<__int128, kMaxExperts> wanted{};
  ExpertCounts counts;
  for (int e = 0; e < num_experts; ++e) {
    if (to.ppm(e) == 0) continue;
    const __int128 debt = keep_debts ? share(from, e) - static_cast<__int128>(so_far.count[e]) * Ratio::kOne : 0;
    wanted[e] = std::max<__int128>(0, share(to, e) - debt);
    counts.count[e] = static_cast<int64_t>(wanted[e] / Ratio::kOne);
    counts.total += counts.count[e];
  }
  // To the same total: a token at a time where it is owed, or held, most.
  for (; counts.total != so_far.total; counts.total += counts.total < so_far.total ? 1 : -1) {
    const bool more = counts.total < so_far.total;
    int best = -1;
    __int128 best_gap = 0;
    for (int e = 0; e < num_experts; ++e) {
      if (to.ppm(e) == 0 || (!more && counts.count[e] == 0)) continue;
      const __int128 owed = wanted[e] - static_cast<__int128>(counts.count[e]) * Ratio::kOne;
      const __int128 gap = more ? owed : -owed;
      if (best < 0 || gap > best_gap) {
        best = e;
        best_gap = gap;
      }
    }
    counts.count[best] += more ? 1 : -1;
  }
  return counts;
}

void ProgressiveTopK(absl::Span<const float> scores, int num_experts, const ExpertCounts& quota, absl::Span<uint8_t> experts) {
  const int64_t num_tokens = static_cast<int64_t>(experts.size());
  RATION_CHECK(quota.total == num_tokens && static_cast<int64_t>(scores.size()) == num_tokens * num_experts);
  const auto score = [&](int32_t token, int expert) {
    const float s = scores[static_cast<size_t>(token) * num_experts + expert];
    return std::isnan(s) ? -std::numeric_limits<float>::infinity() : s;
  };
  std::vector<int32_t> rest(num_tokens);
  for (int64_t t = 0; t < num_tokens; ++t) rest[t] = static_cast<int32_t>(t);
  for (int e = 0; e + 1 < num_experts; ++e) {
    const int64_t take = quota.count[e];
    const auto better = [&](int32_t a, int32_t b) {
      const float sa = score(a, e), sb = score(b, e);
      return sa != sb ? sa > sb : a < b;
    };
    if (take > 0 && take < static_cast<int64_t>(rest.size())) {
      std::nth_element(rest.begin(), rest.begin() + take - 1, rest.end(), better);
    }
    for (int64_t i = 0; i < take; ++i) experts[rest[i]] = static_cast<uint8_t>(e);
    rest.erase(rest.begin(), rest.begin() + take);
  }
  for (int32_t token : rest) experts[token] = static_cast<uint8_t>(num_experts - 1);
}

int ArgmaxExpert(absl::Span<const float> scores) {
  int best = 0;
  for (size_t e = 1; e < scores.size(); ++e) {
    if (scores[e] > scores[best] || (std::isnan(scores[best]) && !std::isnan(scores[e]))) best = static_cast<int>(e);
  }
  return best;
}

}  // namespace ration
