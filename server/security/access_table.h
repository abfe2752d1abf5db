// Who has which token, which roles come with it, and each tenant's quota: an access file (proto/access.proto), read and checked.
// Layer: server/security. Immutable once read; thread-safe.
#ifndef RATION_SERVER_SECURITY_ACCESS_TABLE_H_
#define RATION_SERVER_SECURITY_ACCESS_TABLE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/request.h"
#include "engine/scheduler/tenant_quota.h"

namespace ration {

inline constexpr size_t kMaxTokenBytes = 1024;

// On whose behalf a call is made, and what it may do.
struct Caller {
  std::string tenant;
  bool may_generate = false;
  bool may_control = false;
  int32_t max_priority = kMaxPriority;  // of its requests
};

class AccessTable {
 public:
  // Reads protobuf text. InvalidArgument names the line, or the entry and its rule; never a token or anything that may be one.
  static absl::StatusOr<std::shared_ptr<const AccessTable>> Parse(absl::string_view text);

  // Whose token this is; nullptr if nobody's. Takes as long for a token that is nearly right as for any other.
  const Caller* Find(absl::string_view token) const;
  // One for each client, in the file's order.
  const std::vector<TenantQuota>& quotas() const { return quotas_; }

 private:
  struct Token {
    std::string sha256;  // 32 bytes
    size_t client;
  };
  absl::Status Add(absl::string_view where, const std::string& sha256);

  std::vector<Caller> clients_;
  std::vector<TenantQuota> quotas_;
  std::vector<Token> tokens_;
};

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_ACCESS_TABLE_H_
