#include "server/security/tls_credentials.h"

#include <utility>

#include <grpc/grpc.h>

#include "engine/base/check.h"

namespace ration {

void TlsServerCredentials::Use(TlsMaterial material) {
  MutexLock lock(&mutex_);
  material_ = std::move(material);
  ++version_;
}

void TlsServerCredentials::SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) {
  RATION_CHECK(false);
}

grpc_ssl_certificate_config_reload_status TlsServerCredentials::Fetch(void* port, grpc_ssl_server_certificate_config** config) {
  Port* const asking = static_cast<Port*>(port);
  TlsServerCredentials* const owner = asking->owner;
  MutexLock lock(&owner->mutex_);
  if (owner->version_ == asking->served_version) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
  asking->served_version = owner->version_;
  const TlsMaterial& material = owner->material_;
  const grpc_ssl_pem_key_cert_pair pair = {material.private_key.c_str(), material.certificate_chain.c_str()};
  // gRPC 1.51 ends the process when replaced material has no authorities, even where no client is asked for a certificate. The server's
  // own chain stands in for them there, and nothing is verified against it.
  const char* const client_ca = (owner->require_client_certificate_ ? material.client_ca : material.certificate_chain).c_str();
  *config = grpc_ssl_server_certificate_config_create(client_ca, &pair, 1);  // copies
  return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

int TlsServerCredentials::AddPortToServer(const std::string& address, grpc_server* server) {
  Port* port = nullptr;
  {
    MutexLock lock(&mutex_);
    ports_.push_back(std::make_unique<Port>(Port{this, 0}));
    port = ports_.back().get();
  }
  grpc_ssl_server_credentials_options* options = grpc_ssl_server_credentials_create_options_using_config_fetcher(
      require_client_certificate_ ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                  : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
      &TlsServerCredentials::Fetch, port);
  grpc_server_credentials* credentials = grpc_ssl_server_credentials_create_with_options(options);  // takes the options
  const int bound = grpc_server_add_http2_port(server, address.c_str(), credentials);
  grpc_server_credentials_release(credentials);
  return bound;
}

}  // namespace ration
