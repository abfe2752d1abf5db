// What the operator asked for, validated: the text of the command line's flags becomes native values here and nowhere else.
// Layer: server. Value types; stateless functions.
#ifndef RATION_SERVER_SERVER_OPTIONS_H_
#define RATION_SERVER_SERVER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <spdlog/common.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine_factory_options.h"
#include "server/listen_address.h"

namespace ration {

// Where and how to serve; what Server needs.
struct ServerOptions {
  ListenAddress listen{"127.0.0.1", 50051};
  std::optional<ListenAddress> metrics_listen = ListenAddress{"127.0.0.1", 9091};  // absent: no metrics
  std::optional<ListenAddress> control_listen = ListenAddress{"127.0.0.1", 50052};  // absent: no control API
  std::string port_file;  // empty: none; otherwise the ports in use are written there once the server is ready
  bool insecure = false;
  int64_t max_live_requests = 1280;
  int64_t max_prompt_bytes = int64_t{1} << 20;
  absl::Duration slow_reader_timeout = absl::Seconds(30);
  absl::Duration max_queue_time = absl::InfiniteDuration();  // of requests that name none
  absl::Duration grace_period = absl::Seconds(25);
};

struct RationdOptions {
  ServerOptions server;
  EngineFactoryOptions engine;  // what to serve and with what
  std::string model_name;       // that clients see; never empty
  spdlog::level::level_enum log_level = spdlog::level::info;
};

// The flags as given; main.cc declares them with these defaults.
struct FlagValues {
  std::string model;
  std::string model_name;
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9091";
  std::string control_listen = "127.0.0.1:50052";
  std::string port_file;
  std::string kv_budget = "1GiB";
  std::string ratio;
  std::string policy = "governor";
  std::vector<std::string> ladder;
  // 0 keeps the default.
  double kv_floor = 0;
  double kv_ceiling = 1;
  double rise_per_second = GovernorGains().rise_per_second;
  double dead_band = GovernorGains().dead_band;
  double headroom = GovernorGains().headroom;
  double admission_overcommit = 1;
  std::string decode_rule = "threshold";
  std::string untrained_routing = "none";
  std::string dtype = "auto";
  int32_t threads = 0;
  int64_t max_batched_tokens = 2048;
  int64_t max_running_requests = 256;
  int64_t max_queued_requests = 1024;
  int64_t max_queued_tokens = Policy().max_queued_tokens;
  absl::Duration max_queue_time = absl::ZeroDuration();  // 0: none
  absl::Duration priority_aging = absl::Seconds(10);
  std::string page_bytes = "0";
  std::string max_prompt_bytes = "1MiB";
  absl::Duration grace_period = absl::Seconds(25);
  absl::Duration slow_reader_timeout = absl::Seconds(30);
  bool insecure = false;
  std::string log_level = "info";
};

// InvalidArgument names the flag, the limit and the value.
absl::StatusOr<RationdOptions> ParseOptions(const FlagValues& flags);

}  // namespace ration

#endif  // RATION_SERVER_SERVER_OPTIONS_H_
