// A place to listen: "HOST:PORT", the host in brackets if it is an IPv6 address. Port 0 takes any free port.
// Layer: server. Value type.
#ifndef RATION_SERVER_LISTEN_ADDRESS_H_
#define RATION_SERVER_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

struct ListenAddress {
  std::string host;
  int port = 0;

  // InvalidArgument names the flag, the form and the text.
  static absl::StatusOr<ListenAddress> Parse(absl::string_view flag, absl::string_view text);

  bool IsLoopback() const;
  std::string ToString() const;
};

}  // namespace ration

#endif  // RATION_SERVER_LISTEN_ADDRESS_H_
