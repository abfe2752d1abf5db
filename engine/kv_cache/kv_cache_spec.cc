#include "engine/kv_cache/kv_cache_spec.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace ration {

static_assert(kMaxExperts == kernels::kMaxExperts, "router and kernels must agree on the number of experts");

namespace {

constexpr int64_t kPageAlignmentBytes = 64;  // a cache line and an AVX-512 register
constexpr int64_t kDefaultTokensPerPage = 8;
constexpr int64_t kMaxPageBytes = int64_t{1} << 30;

absl::Status CheckPositive(const char* name, int64_t value, int64_t limit) {
  if (value >= 1 && value <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("KV cache: ", name, " must be between 1 and ", limit, ", not ", value));
}

}  // namespace

absl::StatusOr<KvCacheSpec> KvCacheSpec::Create(const Options& options) {
  for (const absl::Status& status : {CheckPositive("num_layers", options.num_layers, 1 << 16),
                                     CheckPositive("num_kv_heads", options.num_kv_heads, 1 << 16),
                                     CheckPositive("head_dim", options.head_dim, 1 << 16)}) {
    if (!status.ok()) return status;
  }
  const ExpertSpec& experts = options.experts;
  for (int e = 0; e < experts.num_experts(); ++e) {
    if (options.num_kv_heads % experts.group_size(e) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("KV cache: group size ", experts.group_size(e),
                                                     " does not divide the ", options.num_kv_heads,
                                                     " key/value heads"));
    }
  }
  if (!options.windows.empty() && static_cast<int64_t>(options.windows.size()) != options.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache: windows must name ", options.num_layers, " layers or none, not ",
                                                   options.windows.size()));
  }
  for (int64_t window : options.windows) {
    if (window < 0) return absl::InvalidArgumentError(absl::StrCat("KV cache: a window must be at least 0, not ", window));
  }
  KvCacheSpec spec;
  spec.experts_ = experts;
  if (std::any_of(options.windows.begin(), options.windows.end(), [](int64_t window) { return window > 0; })) {
    spec.windows_ = options.windows;
  }
  spec.num_layers_ = options.num_layers;
  kernels::KvLayout& layout = spec.layout_;
  layout.dtype = options.dtype;
  layout.num_kv_heads = static_cast<int32_t>(options.num_kv_heads);
  layout.head_dim = static_cast<int32_t>(options.head_dim);
  layout.num_experts = experts.num_experts();
  for (int e = 0; e < experts.num_experts(); ++e) layout.group_size[e] = experts.group_size(e);

  const int64_t largest = layout.bytes_per_token(0);
  layout.page_bytes = options.page_bytes;
  if (layout.page_bytes == 0) {
    const int64_t wanted = kDefaultTokensPerPage * largest;
    layout.page_bytes = (wanted + kPageAlignmentBytes - 1) / kPageAlignmentBytes * kPageAlignmentBytes;
  }
  if (layout.page_bytes < 0 || layout.page_bytes > kMaxPageBytes || layout.page_bytes % kPageAlignmentBytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache: page_bytes must be a multiple of ", kPageAlignmentBytes,
                                                   " between ", kPageAlignmentBytes, " and ", kMaxPageBytes, ", not ",
                                                   layout.page_bytes));
  }
  if (layout.page_bytes < largest) {
    return absl::InvalidArgumentError(absl::StrCat("KV cache: page_bytes must hold a token of the largest expert, ",
                                                   largest, " bytes, not ", layout.page_bytes));
  }
  for (int e = 0; e < layout.num_experts; ++e) {
    layout.slots_per_page[e] = static_cast<int32_t>(layout.page_bytes / layout.bytes_per_token(e));
  }
  return spec;
}

int64_t KvCacheSpec::SequenceBytes(int expert, int64_t tokens) const {
  if (!has_windows()) return tokens * bytes_per_token(expert);
  int64_t held = 0;
  for (int64_t window : windows_) held += window > 0 ? std::min(tokens, window) : tokens;
  return held * bytes_per_token_layer(expert);
}

// The bound. Let n_e be the tokens of expert e in one layer, s_e its slots per page, N_e = n_0 + .. + n_e, T = N_{E-1},
// and U the reachable experts. The layer holds
//   sum over e in U of ceil(n_e / s_e)  <=  sum over e in U of (s_e - 1) / s_e  +  sum over all e of n_e / s_e,
// and by Abel summation the last sum is
//   sum over e < E-1 of N_e * (1/s_e - 1/s_{e+1})  +  T / s_{E-1}.
// Later experts store fewer heads, so s_e <= s_{e+1} and every factor is >= 0: the sum is largest when every N_e is. The
// left side is an integer, so the floor of the right side bounds it too. Nor can it exceed T: every page holds a token. In
// floating point each operation rounds monotonically, so the result stays monotone; the small constant keeps a sum that is
// an integer in exact arithmetic from being rounded below it.
int64_t KvCacheSpec::PagesWithin(absl::Span<const int64_t> max_prefix, absl::Span<const bool> reachable) const {
  double pages = 0;
  for (int e = 0; e < num_experts(); ++e) {
    const double slots = static_cast<double>(slots_per_page(e));
    if (reachable[e]) pages += (slots - 1) / slots;
    const double next = e + 1 < num_experts() ? 1.0 / static_cast<double>(slots_per_page(e + 1)) : 0.0;
    pages += static_cast<double>(max_prefix[e]) * (1.0 / slots - next);
  }
  const int64_t per_layer = static_cast<int64_t>(std::floor(pages * (1 + 1e-12) + 1e-9));
  return std::min(per_layer, max_prefix[num_experts() - 1]) * num_layers_;
}

// MaxPrefixTokens(e) bounds N_e for any scores, and page tables only grow while a sequence runs at one ratio, so its end
// bounds every earlier moment.
int64_t KvCacheSpec::WorstCasePages(const DecodeRouter& router, int64_t prompt_tokens, int64_t decoded_tokens) const {
  RATION_CHECK(prompt_tokens >= 0 && decoded_tokens >= 0);
  RATION_CHECK(router.ratio().num_experts() == num_experts());
  std::array<int64_t, kMaxExperts> max_prefix{};
  std::array<bool, kMaxExperts> reachable{};
  for (int e = 0; e < num_experts(); ++e) {
    max_prefix[e] = router.MaxPrefixTokens(e, prompt_tokens, decoded_tokens);
    // Quotas and thresholds give an expert without a share no token; argmax may.
    reachable[e] = router.ratio().ppm(e) > 0 || router.rule() == DecodeRule::kArgmax;
  }
  return PagesWithin(absl::MakeConstSpan(max_prefix.data(), num_experts()),
                     absl::MakeConstSpan(reachable.data(), num_experts()));
}

}  // namespace ration
