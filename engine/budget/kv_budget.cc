#include "engine/budget/kv_budget.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/memory/memory.h"
#include "absl/types/span.h"
#include "engine/base/check.h"
#include "engine/router/decode_router.h"

namespace ration {

bool KvBudget::CanReserve(int64_t pages) const {
  const double limit = std::floor(static_cast<double>(num_pages_) * overcommit_);
  if (reserved_pages_ == 0) return static_cast<double>(pages) <= limit;
  return static_cast<double>(reserved_pages_ + pages + headroom_pages_) <= limit;
}

std::unique_ptr<KvBudget::Reservation> KvBudget::TryReserve(int64_t pages) {
  RATION_CHECK(pages >= 0);
  if (!CanReserve(pages)) return nullptr;
  return absl::WrapUnique(new Reservation(this, pages));
}

// Let C_j be the floor's share of experts 0..j, N_j the tokens they hold of a layer's n, s_j the slots of a page. While N_j - C_j n is at
// least a page's tokens, the Regrouper finds a page to move past j; so at the floor N_j < C_j n + s_j, and N_j = 0 where C_j = 0. Tokens
// routed at the floor after that add at most C_j m + 2 kSlackTokens + 3 to N_j; one more for rounding the share. Pages only grow with N_j, for every j.
int64_t FloorPages(const KvCacheSpec& spec, const Ratio& floor, int64_t tokens) {
  RATION_CHECK(floor.num_experts() == spec.num_experts() && tokens >= 0);
  constexpr int64_t kRouted = 2 * DecodeRouter::kSlackTokens + 4;
  std::array<int64_t, kMaxExperts> max_prefix{};
  std::array<bool, kMaxExperts> reachable{};
  int64_t prefix_ppm = 0;
  for (int e = 0; e < spec.num_experts(); ++e) {
    prefix_ppm += floor.ppm(e);
    // Experts behind the floor's last one too: a ratio above the floor, or an older ladder's, may have sent tokens there.
    reachable[e] = prefix_ppm > 0;
    const int64_t share = static_cast<int64_t>(static_cast<__int128>(prefix_ppm) * tokens / Ratio::kOne);
    max_prefix[e] = prefix_ppm == 0 ? 0 : std::min(tokens, share + spec.slots_per_page(e) + kRouted);
  }
  return spec.PagesWithin(absl::MakeConstSpan(max_prefix.data(), spec.num_experts()),
                          absl::MakeConstSpan(reachable.data(), spec.num_experts()));
}

}  // namespace ration
