// What one tenant may take of the server. A tenant is whoever the caller's token names; calls without a token belong to
// the tenant "".
// Layer: engine/scheduler. Plain data.
#ifndef RATION_ENGINE_SCHEDULER_TENANT_QUOTA_H_
#define RATION_ENGINE_SCHEDULER_TENANT_QUOTA_H_

#include <cstdint>
#include <optional>
#include <string>

namespace ration {

struct TenantQuota {
  // Unique; 1 to 128 printable ASCII characters, not "other". Also the value of the metrics' label `tenant`.
  std::string tenant;
  double weight = 1;   // in [0.001, 1000]; share against other tenants' while both wait
  // >= 1; reserved by its running requests; absent: no limit. No effect under BudgetPolicy::kPreempt, which reserves
  // nothing.
  std::optional<int64_t> max_kv_bytes;
  // >= 0; absent: only the server's limit. A request counts until the step that admits it, so 0 shuts the tenant out.
  std::optional<int64_t> max_queued_requests;
  std::optional<double> max_tokens_per_second;  // > 0; prompt and generated tokens; absent: no limit
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_TENANT_QUOTA_H_
