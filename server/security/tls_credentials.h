// gRPC server credentials whose certificate, key and client authorities can be replaced while the server runs: each new connection
// gets the newest, those that are open go on.
//
// gRPC's own FileWatcherCertificateProvider (1.51) takes whatever it finds: with a file missing or half written, new connections fail.
// So this goes through the core's certificate fetcher instead, which asks at every handshake, and answers it only with material that
// was checked. TLS 1.2 and 1.3, gRPC's own choice of ciphers.
// Layer: server/security. Use is thread-safe. Must outlive the servers it is given to.
#ifndef RATION_SERVER_SECURITY_TLS_CREDENTIALS_H_
#define RATION_SERVER_SECURITY_TLS_CREDENTIALS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <grpc/grpc_security.h>
#include <grpcpp/security/server_credentials.h>

#include "absl/base/thread_annotations.h"
#include "engine/base/mutex.h"
#include "server/security/tls_material.h"

namespace ration {

class TlsServerCredentials final : public grpc::ServerCredentials {
 public:
  // With `require_client_certificate` only clients with a certificate of the material's client_ca can connect.
  explicit TlsServerCredentials(bool require_client_certificate) : require_client_certificate_(require_client_certificate) {}

  // REQUIRES: CheckTlsMaterial finds nothing. Before a server uses the credentials, and whenever there is newer material.
  void Use(TlsMaterial material);

  // Not supported: tokens are checked by the services, so that they work without TLS too.
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>& processor) override;

 private:
  // One for each listening port, as each asks for itself.
  struct Port {
    TlsServerCredentials* owner;
    int64_t served_version;  // guarded by owner->mutex_
  };
  static grpc_ssl_certificate_config_reload_status Fetch(void* port, grpc_ssl_server_certificate_config** config);
  int AddPortToServer(const std::string& address, grpc_server* server) override;

  const bool require_client_certificate_;
  Mutex mutex_;
  TlsMaterial material_ ABSL_GUARDED_BY(mutex_);
  int64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<Port>> ports_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_TLS_CREDENTIALS_H_
