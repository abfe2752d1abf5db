// What TLS needs, read from PEM files: a certificate chain, its key and, for mutual TLS, the authorities that clients' certificates
// must come from. Everything that can be wrong with them is found here, before gRPC sees them.
// Layer: server/security. Stateless; thread-safe.
#ifndef RATION_SERVER_SECURITY_TLS_MATERIAL_H_
#define RATION_SERVER_SECURITY_TLS_MATERIAL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ration {

// PEM text.
struct TlsMaterial {
  std::string certificate_chain;  // the server's certificate first, then intermediate ones
  std::string private_key;
  std::string client_ca;  // empty: clients need no certificate
};

// Where it came from, for errors.
struct TlsPaths {
  std::string cert;       // --tls_cert
  std::string key;        // --tls_key
  std::string client_ca;  // --tls_client_ca; empty: clients need no certificate
};

// Checks that every part can be parsed, that the key is the certificate's, that the certificates are valid at `now`, and that the
// TLS library would serve with them (it refuses keys that are too weak). InvalidArgument names flag and file.
absl::Status CheckTlsMaterial(const TlsMaterial& material, const TlsPaths& paths, absl::Time now);

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_TLS_MATERIAL_H_
