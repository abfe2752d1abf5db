// What one tenant may take of the server. A tenant is whoever the caller's token names; calls without a token belong to the tenant "".
// Layer: engine/scheduler. Plain data.
#ifndef RATION_ENGINE_SCHEDULER_TENANT_QUOTA_H_
#define RATION_ENGINE_SCHEDULER_TENANT_QUOTA_H_

#include <cstdint>
#include <optional>
#include <string>

namespace ration {

struct TenantQuota {
  std::string tenant;  // unique; also the value of the metrics' label `tenant`
  double weight = 1;   // > 0; share against other tenants' while both wait
  std::optional<int64_t> max_kv_bytes;            // >= 1; reserved by its running requests; absent: no limit
  std::optional<int64_t> max_queued_requests;     // >= 0; absent: only the server's limit
  std::optional<double> max_tokens_per_second;    // > 0; prompt and generated tokens; absent: no limit
};

}  // namespace ration

#endif  // RATION_ENGINE_SCHEDULER_TENANT_QUOTA_H_
