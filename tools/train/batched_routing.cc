#include "tools/train/batched_routing.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/router/routing.h"

namespace ration {
namespace {

// Below every score, which are sigmoids, in the order in which they may be taken: a NaN, a token that an earlier expert
// took, the padding behind the last token.
constexpr double kNan = -1, kTaken = -2, kPadding = -3;

}  // namespace

at::Tensor WindowQuotas(const std::vector<Ratio>& ratios, int64_t length, int64_t window) {
  RATION_CHECK(!ratios.empty() && window > 0);
  const int num_experts = ratios[0].num_experts();
  const int64_t num_windows = (length + window - 1) / window;
  at::Tensor quotas = at::empty({static_cast<int64_t>(ratios.size()), num_windows, num_experts}, at::kLong);
  int64_t* out = quotas.data_ptr<int64_t>();
  for (const Ratio& ratio : ratios) {
    ExpertCounts counts;
    for (int64_t begin = 0; begin < length; begin += window) {
      const ExpertCounts quota = NextQuota(ratio, counts, std::min(window, length - begin));
      for (int e = 0; e < num_experts; ++e) {
        *out++ = quota.count[e];
        counts.count[e] += quota.count[e];
      }
      counts.total += quota.total;
    }
  }
  return quotas;
}

at::Tensor BatchedTopK(const at::Tensor& scores, const at::Tensor& quotas, int64_t window) {
  const int64_t batch = scores.size(0), length = scores.size(1), num_experts = scores.size(2);
  const int64_t num_windows = (length + window - 1) / window;
  RATION_CHECK(quotas.size(1) == num_windows && quotas.size(2) == num_experts);
  at::Tensor left = at::where(scores.isnan(), at::full({}, kNan, scores.options()), scores);
  left = at::constant_pad_nd(left, {0, 0, 0, num_windows * window - length}, kPadding)
             .view({batch, num_windows, window, num_experts});
  const at::Tensor places = at::arange(window, quotas.options()).expand({batch, num_windows, window});
  at::Tensor experts = at::full({batch, num_windows, window}, num_experts - 1, quotas.options());
  at::Tensor taken;
  for (int64_t e = 0; e + 1 < num_experts; ++e) {
    at::Tensor score = left.select(3, e);
    if (taken.defined()) score = score.masked_fill(taken, kTaken);
    // Equal scores stay in the order of their tokens: the lower index first.
    const at::Tensor order = std::get<1>(at::sort(score, /*stable=*/true, /*dim=*/2, /*descending=*/true));
    const at::Tensor rank = at::empty_like(order).scatter_(2, order, places);
    const at::Tensor chosen = rank < quotas.select(2, e).unsqueeze(2);
    experts = experts.masked_fill(chosen, e);
    taken = taken.defined() ? taken.logical_or(chosen) : chosen;
  }
  return experts.view({batch, num_windows * window}).narrow(1, 0, length);
}

}  // namespace ration
