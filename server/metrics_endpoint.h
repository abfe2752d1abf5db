// The HTTP endpoint that Prometheus scrapes: GET /metrics, one short connection at a time, on one thread. Not a web server, and not
// prometheus-cpp's Exposer: its civetweb gives threads 100 KiB of stack, less than the thread-local storage of LibTorch's libraries
// takes, so that no thread of it starts in this process.
// Layer: server. The page function runs on the endpoint's thread.
#ifndef RATION_SERVER_METRICS_ENDPOINT_H_
#define RATION_SERVER_METRICS_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/listen_address.h"
#include "server/listen_sockets.h"

namespace ration {

class MetricsEndpoint {
 public:
  // `page` makes the text of /metrics. Unavailable names an address that cannot be bound.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Start(const ListenAddress& address,
                                                                std::function<std::string()> page);
  ~MetricsEndpoint();
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;

  int port() const { return socket_.port(); }

 private:
  MetricsEndpoint(ListenSockets socket, int wake_fd, std::function<std::string()> page);
  void Loop();
  // Reads one request and answers it, within a few seconds.
  void Serve(int fd) const;
  // Waits until `fd` is ready for `events`; false if the time is over or the endpoint is ending.
  bool WaitFor(int fd, short events, int64_t deadline_ms) const;

  const ListenSockets socket_;
  const int wake_fd_;  // readable when the endpoint is to end
  const std::function<std::string()> page_;
  std::thread thread_;
};

}  // namespace ration

#endif  // RATION_SERVER_METRICS_ENDPOINT_H_
