#include "server/security/security_options.h"

#include "absl/strings/str_cat.h"

namespace ration {

std::string Describe(const SecurityOptions& options) {
  return absl::StrCat(options.has_mutual_tls() ? "mutual TLS" : options.has_tls() ? "TLS" : "no TLS", ", ",
                      options.has_access_file() ? "tokens" : "no tokens");
}

absl::Status CheckSecurityOptions(const SecurityOptions& options) {
  if (options.tls.cert.empty() != options.tls.key.empty()) {
    return absl::InvalidArgumentError(options.tls.key.empty()
                                          ? "--tls_key: is needed with --tls_cert: the file of the certificate's private key"
                                          : "--tls_cert: is needed with --tls_key: the file of the server's certificate");
  }
  if (options.has_mutual_tls() && !options.has_tls()) {
    return absl::InvalidArgumentError("--tls_client_ca: applies only with --tls_cert and --tls_key");
  }
  return absl::OkStatus();
}

absl::Status CheckReach(absl::string_view flag, const ListenAddress& address, const SecurityOptions& options, bool insecure) {
  if (insecure || address.IsLoopback() || (options.has_tls() && options.has_access_file())) return absl::OkStatus();
  const absl::string_view missing = options.has_tls()           ? "an access file (--access_file)"
                                    : options.has_access_file() ? "TLS (--tls_cert and --tls_key)"
                                                                : "TLS (--tls_cert and --tls_key) and an access file (--access_file)";
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", address.ToString(), " can be reached from other machines, which takes ",
                                                 missing,
                                                 "; or bind a loopback address (127.0.0.1, [::1], localhost), or pass --insecure"));
}

absl::Status CheckMetricsReach(const ListenAddress& address, bool metrics_insecure) {
  if (metrics_insecure || address.IsLoopback()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--metrics_listen: ", address.ToString(),
                   " can be reached from other machines, and metrics are plain HTTP without authentication; bind a loopback address "
                   "(127.0.0.1, [::1], localhost) or pass --metrics_insecure"));
}

}  // namespace ration
