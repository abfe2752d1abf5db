// TCP sockets that listen at one address: one for each of the addresses that its host name has, all at the same port.
// Layer: server. Movable; thread-compatible.
#ifndef RATION_SERVER_LISTEN_SOCKETS_H_
#define RATION_SERVER_LISTEN_SOCKETS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/listen_address.h"

namespace ration {

class ListenSockets {
 public:
  // Binds at most `max_sockets` of the host's addresses. Port 0 takes any free port. [::] takes IPv4 connections too. Not blocking;
  // `backlog` as for listen(2). Unavailable names flag and address.
  static absl::StatusOr<ListenSockets> Bind(absl::string_view flag, const ListenAddress& address, int max_sockets, int backlog);
  ~ListenSockets();
  ListenSockets(ListenSockets&& other) noexcept;
  ListenSockets& operator=(ListenSockets&&) = delete;

  const std::vector<int>& fds() const { return fds_; }  // never empty
  int port() const { return port_; }

 private:
  ListenSockets() = default;

  std::vector<int> fds_;
  int port_ = 0;
};

}  // namespace ration

#endif  // RATION_SERVER_LISTEN_SOCKETS_H_
