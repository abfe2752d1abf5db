#include "server/connection_acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <spdlog/spdlog.h>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

constexpr int kMaxAddresses = 16;                                // of one host name
constexpr int kEventsAtOnce = 64;
constexpr absl::Duration kWarningInterval = absl::Minutes(1);    // a flood of connections must not become a flood of log lines
constexpr int kOutOfDescriptorsPauseMs = 100;

absl::Status SystemError(absl::string_view flag) {
  return absl::UnavailableError(absl::StrCat("--", flag, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Start(const Options& options, Target target) {
  RATION_ASSIGN_OR_RETURN(ListenSockets sockets, ListenSockets::Bind(options.flag, options.address, kMaxAddresses, SOMAXCONN));
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return SystemError(options.flag);
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    const absl::Status status = SystemError(options.flag);
    close(epoll_fd);
    return status;
  }
  std::unique_ptr<ConnectionAcceptor> acceptor =
      absl::WrapUnique(new ConnectionAcceptor(options, std::move(target), std::move(sockets), epoll_fd, wake_fd));
  RATION_RETURN_IF_ERROR(acceptor->Watch(wake_fd, EPOLLIN));
  for (const int fd : acceptor->sockets_.fds()) RATION_RETURN_IF_ERROR(acceptor->Watch(fd, EPOLLIN));
  acceptor->thread_ = std::thread([self = acceptor.get()] { self->Loop(); });
  return acceptor;
}

ConnectionAcceptor::ConnectionAcceptor(const Options& options, Target target, ListenSockets sockets, int epoll_fd, int wake_fd)
    : options_(options), target_(std::move(target)), sockets_(std::move(sockets)), epoll_fd_(epoll_fd), wake_fd_(wake_fd) {}

ConnectionAcceptor::~ConnectionAcceptor() {
  eventfd_write(wake_fd_, 1);
  if (thread_.joinable()) thread_.join();
  for (const int fd : watched_) close(fd);
  close(wake_fd_);
  close(epoll_fd_);
}

absl::Status ConnectionAcceptor::Watch(int fd, uint32_t events) const {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0 ? absl::OkStatus() : SystemError(options_.flag);
}

void ConnectionAcceptor::Loop() {
  epoll_event events[kEventsAtOnce];
  for (;;) {
    const int count = epoll_wait(epoll_fd_, events, kEventsAtOnce, -1);
    // Ends first: they make room.
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (watched_.erase(fd) == 0) continue;
      epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);  // gRPC's descriptor may keep the connection alive for a moment
      close(fd);
      num_connections_.fetch_sub(1, std::memory_order_relaxed);
      events[i].events = 0;
    }
    for (int i = 0; i < count; ++i) {
      if (events[i].events == 0) continue;
      if (events[i].data.fd == wake_fd_) return;
      AcceptAll(events[i].data.fd);
    }
  }
}

void ConnectionAcceptor::AcceptAll(int listen_fd) {
  // Not for ever, so that ends are seen in between.
  for (int i = 0; i < kEventsAtOnce; ++i) {
    const int fd = accept4(listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      Take(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // The connection stays in the kernel's queue: look again a little later.
      std::this_thread::sleep_for(std::chrono::milliseconds(kOutOfDescriptorsPauseMs));
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void ConnectionAcceptor::Take(int fd) {
  if (num_connections() >= options_.max_connections) return Refuse(fd);
  const int duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) return Refuse(fd);
  if (!Watch(duplicate, 0).ok()) {  // 0: hang-ups only, which cannot be switched off
    close(duplicate);
    return Refuse(fd);
  }
  watched_.insert(duplicate);
  num_connections_.fetch_add(1, std::memory_order_relaxed);
  // What gRPC sets on sockets that it accepts itself.
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const auto timeout_ms = static_cast<unsigned int>(absl::ToInt64Milliseconds(options_.unacked_timeout));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.fd = fd;
  target_->HandleNewConnection(&parameters);  // owns fd now, and closes it if the server has ended
}

void ConnectionAcceptor::Refuse(int fd) {
  const int64_t refused = options_.num_refused->fetch_add(1, std::memory_order_relaxed) + 1;
  close(fd);  // counted by the time the client sees it
  const absl::Time now = absl::Now();
  if (now < next_warning_) return;
  next_warning_ = now + kWarningInterval;
  spdlog::warn("{} connections to --{} are open, the most there may be: refused {} so far", num_connections(), options_.flag, refused);
}

int64_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, rlim_t{1} << 30));
}

}  // namespace ration
