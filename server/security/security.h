// The server's TLS and access control as the operator's files have them, kept up to date while it runs.
// Layer: server/security. Thread-safe; a thread of its own looks at the files.
#ifndef RATION_SERVER_SECURITY_SECURITY_H_
#define RATION_SERVER_SECURITY_SECURITY_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/security/server_credentials.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/scheduler/tenant_quota.h"
#include "server/security/access_control.h"
#include "server/security/security_options.h"
#include "server/security/tls_credentials.h"
#include "server/security/watched_files.h"
#include "server/timer_thread.h"

namespace ration {

class Security {
 public:
  // Gets the quotas of every tenant of the access file, once it is read and whenever it has changed. Must not block.
  using UseQuotas = std::function<void(const std::vector<TenantQuota>&)>;

  // Reads the files. InvalidArgument names flag and file.
  static absl::StatusOr<std::unique_ptr<Security>> Create(const SecurityOptions& options, UseQuotas use_quotas);
  // The same errors, early: before a model is loaded that could take minutes.
  static absl::Status Check(const SecurityOptions& options);
  Security(const Security&) = delete;
  Security& operator=(const Security&) = delete;

  // For every gRPC port. Must not be used by a server that outlives this object.
  const std::shared_ptr<grpc::ServerCredentials>& credentials() const { return credentials_; }
  const AccessControl& access() const { return access_; }

 private:
  Security(const SecurityOptions& options, UseQuotas use_quotas);
  absl::Status UseTls(const std::vector<std::string>& contents);
  absl::Status UseAccess(const std::vector<std::string>& contents);
  void PollAndAgain();

  const SecurityOptions options_;
  const UseQuotas use_quotas_;
  std::shared_ptr<TlsServerCredentials> tls_;  // nullptr: no TLS
  std::shared_ptr<grpc::ServerCredentials> credentials_;
  AccessControl access_;
  std::optional<WatchedFiles> tls_files_;
  std::optional<WatchedFiles> access_files_;
  TimerThread timer_;  // last: its functions use what is above
};

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_SECURITY_H_
