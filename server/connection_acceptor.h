// Accepts the TCP connections of one gRPC server and hands them over, no more than a limit at a time: gRPC (1.51) has no such limit,
// and once a process is out of file descriptors its own listener never accepts again.
//
// How a connection's end is noticed: gRPC owns the descriptor, so this keeps a duplicate, on which the kernel reports the hang-up when
// either side has shut the connection down. Connections beyond the limit are closed at once, before any of their bytes is read.
// Layer: server. One thread of its own; public methods are thread-safe.
//
// Invariant: each connection that is open takes two descriptors, so `max_connections` takes twice as many.
#ifndef RATION_SERVER_CONNECTION_ACCEPTOR_H_
#define RATION_SERVER_CONNECTION_ACCEPTOR_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <unordered_set>

#include <grpcpp/server_builder.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/listen_address.h"
#include "server/listen_sockets.h"

namespace ration {

class ConnectionAcceptor {
 public:
  struct Options {
    std::string flag;  // that named the address, for messages
    ListenAddress address;
    int64_t max_connections = 0;       // >= 1
    absl::Duration unacked_timeout;    // a peer that acknowledges nothing for so long is gone
    std::atomic<int64_t>* num_refused = nullptr;  // counts the connections beyond the limit; outlives this
  };
  using Target = std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor>;
  // Accepts from the moment this returns. `target` is the server's, which must have been started. Unavailable names an address that
  // cannot be bound.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Start(const Options& options, Target target);
  // Closes the port. Connections handed over stay.
  ~ConnectionAcceptor();
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  int port() const { return sockets_.port(); }
  int64_t num_connections() const { return num_connections_.load(std::memory_order_relaxed); }

 private:
  ConnectionAcceptor(const Options& options, Target target, ListenSockets sockets, int epoll_fd, int wake_fd);
  absl::Status Watch(int fd, uint32_t events) const;
  void Loop();
  void AcceptAll(int listen_fd);
  void Take(int fd);
  void Refuse(int fd);

  const Options options_;
  const Target target_;
  const ListenSockets sockets_;
  const int epoll_fd_;
  const int wake_fd_;  // readable when this is to end
  std::atomic<int64_t> num_connections_{0};
  // The thread's.
  std::unordered_set<int> watched_;  // duplicates of open connections
  absl::Time next_warning_ = absl::InfinitePast();
  std::thread thread_;  // last
};

// Lets the process have as many file descriptors as the system allows it. Returns how many that is.
int64_t RaiseDescriptorLimit();

}  // namespace ration

#endif  // RATION_SERVER_CONNECTION_ACCEPTOR_H_
