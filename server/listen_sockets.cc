#include "server/listen_sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

void SetPort(sockaddr* address, int port) {
  const in_port_t value = htons(static_cast<uint16_t>(port));
  if (address->sa_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = value;
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = value;
  }
}

int PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

// A listening socket, or -1 with errno set.
int Listen(const addrinfo& where, int backlog) {
  const int fd = socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int on = 1, off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool any = where.ai_family == AF_INET6 &&
                   IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(where.ai_addr)->sin6_addr);
  if (any) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(fd, where.ai_addr, where.ai_addrlen) == 0 && listen(fd, backlog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

}  // namespace

absl::StatusOr<ListenSockets> ListenSockets::Bind(absl::string_view flag, const ListenAddress& address, int max_sockets,
                                                  int backlog) {
  const auto cannot_bind = [&](absl::string_view why) {
    return absl::UnavailableError(absl::StrCat("--", flag, ": cannot bind ", address.ToString(), ": ", why));
  };
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found); error != 0) {
    return cannot_bind(gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, &freeaddrinfo);
  ListenSockets sockets;
  int last_error = EADDRNOTAVAIL;
  for (addrinfo* candidate = found; candidate != nullptr; candidate = candidate->ai_next) {
    if (static_cast<int>(sockets.fds_.size()) == max_sockets) break;
    if (sockets.port_ != 0) SetPort(candidate->ai_addr, sockets.port_);
    const int fd = Listen(*candidate, backlog);
    if (fd >= 0) {
      sockets.fds_.push_back(fd);
      if (sockets.port_ == 0) sockets.port_ = PortOf(fd);
      continue;
    }
    last_error = errno;
    // A machine without IPv6 still has the name's IPv4 address; an address in use is somebody else's.
    if (last_error != EAFNOSUPPORT && last_error != EADDRNOTAVAIL) return cannot_bind(std::strerror(last_error));
  }
  if (sockets.fds_.empty()) return cannot_bind(std::strerror(last_error));
  return sockets;
}

ListenSockets::~ListenSockets() {
  for (const int fd : fds_) close(fd);
}

ListenSockets::ListenSockets(ListenSockets&& other) noexcept
    : fds_(std::exchange(other.fds_, {})), port_(std::exchange(other.port_, 0)) {}

}  // namespace ration
