// The door of both services: whose call is this, and may it do what it asks for? Tokens travel as the call's metadata
// `authorization: Bearer TOKEN`.
// Layer: server/security. Thread-safe.
#ifndef RATION_SERVER_SECURITY_ACCESS_CONTROL_H_
#define RATION_SERVER_SECURITY_ACCESS_CONTROL_H_

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/server_context.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/mutex.h"
#include "server/security/access_table.h"

namespace ration {

enum class Role { kGenerate, kControl };

class AccessControl {
 public:
  // Without a table every call belongs to the tenant "" and may do everything.
  AccessControl() = default;
  // From now on `table` decides. Calls that were let in before go on.
  void Use(std::shared_ptr<const AccessTable> table);

  // The caller, who has at least one of `roles`. Unauthenticated if there is no token or nobody's, PermissionDenied if its owner has
  // none of the roles; the messages are for clients and never repeat what was sent. `tenant`, if not null, is set once it is known, also
  // of a caller who is refused.
  absl::StatusOr<Caller> Authorize(const grpc::CallbackServerContext& call, std::initializer_list<Role> roles,
                                   std::string* tenant = nullptr) const;
  // The same, of the values of the call's `authorization` metadata.
  absl::StatusOr<Caller> Authorize(const std::vector<absl::string_view>& authorization, std::initializer_list<Role> roles,
                                   std::string* tenant = nullptr) const;

  // Calls refused so far.
  int64_t num_unauthenticated() const { return num_unauthenticated_.load(std::memory_order_relaxed); }
  int64_t num_permission_denied() const { return num_permission_denied_.load(std::memory_order_relaxed); }

 private:
  absl::StatusOr<Caller> Decide(const std::vector<absl::string_view>& authorization, std::initializer_list<Role> roles,
                                std::string* tenant) const;

  mutable std::atomic<int64_t> num_unauthenticated_{0}, num_permission_denied_{0};
  mutable Mutex mutex_;
  std::shared_ptr<const AccessTable> table_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_ACCESS_CONTROL_H_
