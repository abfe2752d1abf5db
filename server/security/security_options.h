// Which files protect the server's ports, and which addresses may be bound with what protection.
// Layer: server/security. Value types; stateless functions.
#ifndef RATION_SERVER_SECURITY_SECURITY_OPTIONS_H_
#define RATION_SERVER_SECURITY_SECURITY_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/listen_address.h"
#include "server/security/tls_material.h"

namespace ration {

struct SecurityOptions {
  TlsPaths tls;             // cert and key both or neither; neither: no TLS
  std::string access_file;  // empty: no tokens are asked for
  absl::Duration poll_interval = absl::Seconds(1);  // how often the files are looked at

  bool has_tls() const { return !tls.cert.empty(); }
  bool has_mutual_tls() const { return !tls.client_ca.empty(); }
  bool has_access_file() const { return !access_file.empty(); }
};

// What protects the gRPC ports, for the log: "mutual TLS, tokens".
std::string Describe(const SecurityOptions& options);

// InvalidArgument if the flags do not go together. Does not read the files.
absl::Status CheckSecurityOptions(const SecurityOptions& options);

// Whether a gRPC port may be bound to `address`: beyond this machine it takes TLS and an access file, or --insecure. InvalidArgument
// says what is missing.
absl::Status CheckReach(absl::string_view flag, const ListenAddress& address, const SecurityOptions& options, bool insecure);

// The same of the metrics port, which is plain HTTP whatever the others are: beyond this machine it takes --metrics_insecure (or
// --insecure).
absl::Status CheckMetricsReach(const ListenAddress& address, bool metrics_insecure);

}  // namespace ration

#endif  // RATION_SERVER_SECURITY_SECURITY_OPTIONS_H_
