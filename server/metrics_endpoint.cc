#include "server/metrics_endpoint.h"

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
#include "engine/base/status_macros.h"

namespace ration {
namespace {

constexpr int64_t kConnectionMs = 2000;       // a connection that takes longer makes room for the next
constexpr size_t kMaxRequestBytes = 8 << 10;  // scrapers send a few hundred
constexpr int kBacklog = 16;

int64_t NowMs() { return absl::GetCurrentTimeNanos() / 1000000; }

std::string Answer(absl::string_view status, absl::string_view content_type, absl::string_view body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", content_type, "\r\nContent-Length: ", body.size(),
                      "\r\nConnection: close\r\n\r\n", body);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Start(const ListenAddress& address,
                                                                        std::function<std::string()> page) {
  RATION_ASSIGN_OR_RETURN(ListenSockets socket, ListenSockets::Bind("metrics_listen", address, 1, kBacklog));
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) return absl::UnavailableError(absl::StrCat("--metrics_listen: ", std::strerror(errno)));
  return absl::WrapUnique(new MetricsEndpoint(std::move(socket), wake_fd, std::move(page)));
}

MetricsEndpoint::MetricsEndpoint(ListenSockets socket, int wake_fd, std::function<std::string()> page)
    : socket_(std::move(socket)), wake_fd_(wake_fd), page_(std::move(page)), thread_([this] { Loop(); }) {}

MetricsEndpoint::~MetricsEndpoint() {
  eventfd_write(wake_fd_, 1);
  thread_.join();
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
  const int listen_fd = socket_.fds()[0];
  while (WaitFor(listen_fd, POLLIN, -1)) {
    const int fd = accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
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
