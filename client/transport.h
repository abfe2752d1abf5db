// How the programs reach a server: TLS, a client's own certificate, the bearer token; and the flags for them.
// Layer: client. Value types; stateless functions.
#ifndef RATION_CLIENT_TRANSPORT_H_
#define RATION_CLIENT_TRANSPORT_H_

#include <memory>
#include <optional>
#include <string>

#include <grpcpp/channel.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/flag_set.h"

namespace ration {

// By default neither TLS nor a token.
struct Transport {
  bool tls = false;
  std::string authorities;        // PEM; empty: the system's
  std::string certificate_chain;  // PEM, the client's own, for mutual TLS; empty: none
  std::string private_key;        // its key, PEM
  std::string server_name;        // that the server's certificate must have; empty: the target's host
  std::string token;              // sent with every call; empty: none
};

// A channel to `target`, HOST:PORT. Channels to one target share a connection unless `own_connection`.
std::shared_ptr<grpc::Channel> CreateChannel(const std::string& target, const Transport& transport, bool own_connection = false);

struct TransportFlags {
  std::optional<std::string> tls_ca, tls_cert, tls_key, tls_server_name, token_file;
  bool insecure = false;

  void AddTo(FlagSet& flags);
  // Reads the files. The token is --token_file's or $RATION_TOKEN; never an argument, which every user of the machine could see.
  // InvalidArgument names the flag, and never shows the token.
  absl::StatusOr<Transport> Read() const;
  // InvalidArgument if the token would travel to `target` for everybody on the way to read.
  absl::Status CheckTarget(const Transport& transport, absl::string_view target) const;
};

}  // namespace ration

#endif  // RATION_CLIENT_TRANSPORT_H_
