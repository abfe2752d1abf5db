// What the operator asked for, validated: the settings of config.proto become native values here and nowhere else.
// Layer: server. Value types; stateless functions.
#ifndef RATION_SERVER_SERVER_OPTIONS_H_
#define RATION_SERVER_SERVER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include <spdlog/common.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine_factory_options.h"
#include "proto/config.pb.h"
#include "server/connection_limits.h"
#include "server/listen_address.h"
#include "server/logging.h"
#include "server/request_log.h"
#include "server/security/security_options.h"

namespace ration {

// Where and how to serve; what Server needs.
struct ServerOptions {
  ListenAddress listen{"127.0.0.1", 50051};
  std::optional<ListenAddress> metrics_listen = ListenAddress{"127.0.0.1", 9091};  // absent: no metrics
  std::optional<ListenAddress> control_listen = ListenAddress{"127.0.0.1", 50052};  // absent: no control API
  std::optional<ListenAddress> health_listen;  // absent: none
  std::string port_file;  // empty: none; otherwise the ports in use are written there once the server is ready
  SecurityOptions security;
  ConnectionLimits connections;
  int64_t max_live_requests = 1280;
  int64_t max_prompt_bytes = int64_t{1} << 20;
  absl::Duration slow_reader_timeout = absl::Seconds(30);
  absl::Duration max_queue_time = absl::InfiniteDuration();  // of requests that name none
  absl::Duration drain_delay;  // between not ready and refusing
  absl::Duration grace_period = absl::Seconds(25);
  absl::Duration stall_timeout = absl::Seconds(60);  // 0: the engine never counts as stalled
  RequestLogOptions request_log;
};

struct RationdOptions {
  ServerOptions server;
  EngineFactoryOptions engine;  // what to serve and with what
  std::string model_name;       // that clients see; never empty
  LogFormat log_format = LogFormat::kText;
  spdlog::level::level_enum log_level = spdlog::level::info;
};

// InvalidArgument names the flag, the limit and the value.
absl::StatusOr<RationdOptions> ParseOptions(const v1::ServerConfig& config);

}  // namespace ration

#endif  // RATION_SERVER_SERVER_OPTIONS_H_
