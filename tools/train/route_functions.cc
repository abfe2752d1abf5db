#include "tools/train/route_functions.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "engine/base/check.h"
#include "engine/router/routing.h"
#include "tools/train/batched_routing.h"

namespace ration {
namespace {

// Routes tokens [0, num_tokens) of one sequence window by window. scores: [num_tokens, num_experts].
ExpertCounts RouteWindows(absl::Span<const float> scores, const Ratio& ratio, int64_t window,
                          absl::Span<int64_t> experts) {
  const int num_experts = ratio.num_experts();
  const int64_t num_tokens = static_cast<int64_t>(experts.size());
  ExpertCounts counts;
  std::vector<uint8_t> chosen(window);
  for (int64_t begin = 0; begin < num_tokens; begin += window) {
    const int64_t count = std::min(window, num_tokens - begin);
    const ExpertCounts quota = NextQuota(ratio, counts, count);
    ProgressiveTopK(scores.subspan(begin * num_experts, count * num_experts), num_experts, quota,
                    absl::MakeSpan(chosen).subspan(0, count));
    for (int64_t t = 0; t < count; ++t) {
      experts[begin + t] = chosen[t];
      counts.Add(chosen[t]);
    }
  }
  return counts;
}

}  // namespace

RouteFunction ExpertChoiceRoutes(std::vector<Ratio> ratios, int64_t window) {
  RATION_CHECK(!ratios.empty() && window > 0);
  // Every layer of a pass has the same quotas; on another device they are sent there once.
  struct Sent {
    at::Tensor quotas;
    int64_t length = -1;  // of the sequences that they are for
  };
  auto sent = std::make_shared<Sent>();
  return [ratios = std::move(ratios), window, sent](int, const at::Tensor& scores) {
    const int64_t batch = scores.size(0), length = scores.size(1), num_experts = scores.size(2);
    RATION_CHECK(ratios.size() == 1 || static_cast<int64_t>(ratios.size()) == batch);
    if (!scores.is_cpu()) {
      if (sent->length != length || sent->quotas.device() != scores.device()) {
        sent->quotas = WindowQuotas(ratios, length, window).to(scores.device(), at::kLong, /*non_blocking=*/true);
        sent->length = length;
      }
      return BatchedTopK(scores, sent->quotas, window);
    }
    at::Tensor experts = at::empty({batch, length}, at::kLong);
    for (int64_t b = 0; b < batch; ++b) {
      RouteWindows({scores.data_ptr<float>() + b * length * num_experts, static_cast<size_t>(length * num_experts)},
                   ratios[ratios.size() == 1 ? 0 : b], window,
                   {experts.data_ptr<int64_t>() + b * length, static_cast<size_t>(length)});
    }
    return experts;
  };
}

RouteFunction DecodeRoutes(std::shared_ptr<const DecodeRouter> router, int64_t prompt_tokens, int64_t window) {
  RATION_CHECK(prompt_tokens >= 0 && window > 0);
  return [router = std::move(router), prompt_tokens, window](int layer, const at::Tensor& scores) {
    RATION_CHECK(scores.is_cpu());
    const int64_t batch = scores.size(0), length = scores.size(1), num_experts = scores.size(2);
    const int64_t prompt = std::min(prompt_tokens, length);
    at::Tensor experts = at::empty({batch, length}, at::kLong);
    for (int64_t b = 0; b < batch; ++b) {
      const float* sequence = scores.data_ptr<float>() + b * length * num_experts;
      int64_t* out = experts.data_ptr<int64_t>() + b * length;
      ExpertCounts counts = RouteWindows({sequence, static_cast<size_t>(prompt * num_experts)}, router->ratio(), window,
                                         {out, static_cast<size_t>(prompt)});
      for (int64_t t = prompt; t < length; ++t) {
        out[t] = router->Route(layer, {sequence + t * num_experts, static_cast<size_t>(num_experts)}, counts);
        counts.Add(static_cast<int>(out[t]));
      }
    }
    return experts;
  };
}

RouteFunction ToldRoutes(std::vector<std::vector<uint8_t>> experts) {
  return [experts = std::move(experts)](int layer, const at::Tensor& scores) {
    RATION_CHECK(scores.is_cpu() && layer < static_cast<int>(experts.size()) &&
                 static_cast<int64_t>(experts[layer].size()) == scores.size(0) * scores.size(1));
    at::Tensor told = at::empty({scores.size(0), scores.size(1)}, at::kLong);
    std::copy(experts[layer].begin(), experts[layer].end(), told.data_ptr<int64_t>());
    return told;
  };
}

}  // namespace ration
