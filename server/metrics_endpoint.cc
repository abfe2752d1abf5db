#include "server/metrics_endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace ration {
namespace {

constexpr int64_t kConnectionMs = 2000;       // a connection that takes longer makes room for the next
constexpr size_t kMaxRequestBytes = 8 << 10;  // scrapers send a few hundred
constexpr int kBacklog = 16;

int64_t NowMs() { return absl::GetCurrentTimeNanos() / 1000000; }

absl::Status BindError(const ListenAddress& address, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("--metrics_listen: cannot bind ", address.ToString(), ": ", why));
}

// A listening socket, or -1 with errno set.
int Listen(const addrinfo& where) {
  const int fd = socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, where.ai_addr, where.ai_addrlen) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::string Answer(absl::string_view status, absl::string_view content_type, absl::string_view body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", content_type, "\r\nContent-Length: ", body.size(),
                      "\r\nConnection: close\r\n\r\n", body);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const ListenAddress& address,
                                                                        std::function<std::string()> page) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found); error != 0) {
    return BindError(address, gai_strerror(error));
  }
  int fd = -1;
  for (const addrinfo* candidate = found; candidate != nullptr && fd < 0; candidate = candidate->ai_next) fd = Listen(*candidate);
  const int error = errno;
  freeaddrinfo(found);
  if (fd < 0) return BindError(address, std::strerror(error));
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    close(fd);
    return BindError(address, std::strerror(errno));
  }
  return absl::WrapUnique(new MetricsEndpoint(fd, wake_fd, PortOf(fd), std::move(page)));
}

MetricsEndpoint::MetricsEndpoint(int listen_fd, int wake_fd, int port, std::function<std::string()> page)
    : listen_fd_(listen_fd), wake_fd_(wake_fd), port_(port), page_(std::move(page)), thread_([this] { Loop(); }) {}

MetricsEndpoint::~MetricsEndpoint() {
  eventfd_write(wake_fd_, 1);
  thread_.join();
  close(listen_fd_);
  close(wake_fd_);
}

bool MetricsEndpoint::WaitFor(int fd, short events, int64_t deadline_ms) const {
  pollfd fds[] = {{fd, events, 0}, {wake_fd_, POLLIN, 0}};
  while (true) {
    const int timeout = deadline_ms < 0 ? -1 : static_cast<int>(std::max<int64_t>(0, deadline_ms - NowMs()));
    const int ready = poll(fds, 2, timeout);
    if (ready < 0 && errno == EINTR) continue;
    return ready > 0 && fds[1].revents == 0 && fds[0].revents != 0;
  }
}

void MetricsEndpoint::Loop() {
  while (WaitFor(listen_fd_, POLLIN, -1)) {
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      // Out of descriptors, most likely: the connection stays in the queue, so look again a little later.
      if (errno == EMFILE || errno == ENFILE) WaitFor(wake_fd_, POLLIN, NowMs() + 100);
      continue;
    }
    Serve(fd);
    close(fd);
  }
}

void MetricsEndpoint::Serve(int fd) const {
  const int64_t deadline_ms = NowMs() + kConnectionMs;
  std::string request;
  while (!absl::StrContains(request, "\r\n\r\n")) {
    char buffer[2048];
    if (request.size() > kMaxRequestBytes || !WaitFor(fd, POLLIN, deadline_ms)) return;
    const ssize_t count = recv(fd, buffer, sizeof(buffer), 0);
    if (count <= 0) return;
    request.append(buffer, static_cast<size_t>(count));
  }
  const absl::string_view line = absl::string_view(request).substr(0, request.find("\r\n"));
  std::string answer;
  if (!absl::StartsWith(line, "GET ")) {
    answer = Answer("405 Method Not Allowed", "text/plain", "only GET\n");
  } else if (absl::StartsWith(line, "GET /metrics ") || absl::StartsWith(line, "GET /metrics?")) {
    answer = Answer("200 OK", "text/plain; version=0.0.4; charset=utf-8", page_());
  } else {
    answer = Answer("404 Not Found", "text/plain", "metrics are at /metrics\n");
  }
  absl::string_view left = answer;
  while (!left.empty() && WaitFor(fd, POLLOUT, deadline_ms)) {
    const ssize_t count = send(fd, left.data(), left.size(), MSG_NOSIGNAL);
    if (count < 0) return;
    left.remove_prefix(static_cast<size_t>(count));
  }
  // Wait for the client to close, so that what it sent beyond the request cannot turn our close into a reset.
  shutdown(fd, SHUT_WR);
  char rest[1024];
  while (WaitFor(fd, POLLIN, deadline_ms) && recv(fd, rest, sizeof(rest), 0) > 0) {
  }
}

}  // namespace ration
