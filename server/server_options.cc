#include "server/server_options.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "engine/base/byte_size.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

absl::Status Invalid(absl::string_view flag, absl::string_view rule, const absl::AlphaNum& value) {
  return absl::InvalidArgumentError(absl::StrCat("--", flag, ": must be ", rule, ", not ", value));
}

absl::Status CheckRange(absl::string_view flag, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Invalid(flag, absl::StrCat("in [", low, ", ", high, "]"), value);
}

// Also refuses NaN.
absl::Status CheckNumber(absl::string_view flag, double value, double low, double high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Invalid(flag, absl::StrCat("in [", low, ", ", high, "]"), value);
}

absl::StatusOr<absl::Duration> ParseTime(absl::string_view flag, absl::string_view text, absl::Duration low) {
  absl::Duration value;
  if (!absl::ParseDuration(text, &value)) return Invalid(flag, "a time with a unit, e.g. 30s, 1m30s or 250ms", Quoted(text));
  if (value >= low && value <= absl::Hours(24)) return value;
  return Invalid(flag, absl::StrCat("in [", absl::FormatDuration(low), ", 24h]"), absl::FormatDuration(value));
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view flag, absl::string_view text, int64_t low, int64_t high) {
  const absl::StatusOr<int64_t> bytes = ParseByteSize(text);
  if (!bytes.ok()) return absl::InvalidArgumentError(absl::StrCat("--", flag, ": ", bytes.status().message()));
  RATION_RETURN_IF_ERROR(CheckRange(flag, *bytes, low, high));
  return bytes;
}

// 0 is no limit.
absl::StatusOr<absl::Duration> ParseTimeLimit(absl::string_view flag, absl::string_view text) {
  RATION_ASSIGN_OR_RETURN(const absl::Duration time, ParseTime(flag, text, absl::ZeroDuration()));
  return time == absl::ZeroDuration() ? absl::InfiniteDuration() : time;
}

absl::Status ParseSecurity(const v1::ServerConfig& config, SecurityOptions* security) {
  security->tls.cert = config.tls_cert();
  security->tls.key = config.tls_key();
  security->tls.client_ca = config.tls_client_ca();
  security->access_file = config.access_file();
  return CheckSecurityOptions(*security);
}

absl::Status ParseConnectionLimits(const v1::ServerConfig& config, ConnectionLimits* limits) {
  RATION_RETURN_IF_ERROR(CheckRange("max_connections", config.max_connections(), 1, 1 << 20));
  limits->max_connections = config.max_connections();
  RATION_RETURN_IF_ERROR(CheckRange("max_streams_per_connection", config.max_streams_per_connection(), 1, 1 << 20));
  limits->max_streams_per_connection = static_cast<int>(config.max_streams_per_connection());
  RATION_ASSIGN_OR_RETURN(limits->handshake_timeout, ParseTime("handshake_timeout", config.handshake_timeout(), absl::Seconds(1)));
  RATION_ASSIGN_OR_RETURN(limits->max_idle, ParseTimeLimit("max_connection_idle", config.max_connection_idle()));
  RATION_ASSIGN_OR_RETURN(limits->max_age, ParseTimeLimit("max_connection_age", config.max_connection_age()));
  return absl::OkStatus();
}

absl::StatusOr<spdlog::level::level_enum> ParseLogLevel(absl::string_view text) {
  constexpr std::pair<absl::string_view, spdlog::level::level_enum> kLevels[] = {
      {"debug", spdlog::level::debug}, {"info", spdlog::level::info}, {"warning", spdlog::level::warn},
      {"error", spdlog::level::err},   {"off", spdlog::level::off}};
  for (const auto& [name, level] : kLevels) {
    if (text == name) return level;
  }
  return Invalid("log_level", "debug, info, warning, error or off", Quoted(text));
}

absl::StatusOr<LoggedRequests> ParseLoggedRequests(absl::string_view text) {
  if (text == "all") return LoggedRequests::kAll;
  if (text == "errors") return LoggedRequests::kErrors;
  if (text == "none") return LoggedRequests::kNone;
  return Invalid("log_requests", "all, errors or none", Quoted(text));
}

absl::StatusOr<ServerOptions> ParseServerOptions(const v1::ServerConfig& config) {
  ServerOptions options;
  RATION_RETURN_IF_ERROR(ParseSecurity(config, &options.security));
  RATION_RETURN_IF_ERROR(ParseConnectionLimits(config, &options.connections));
  options.port_file = config.port_file();
  RATION_ASSIGN_OR_RETURN(options.listen, ListenAddress::Parse("listen", config.listen()));
  RATION_RETURN_IF_ERROR(CheckReach("listen", options.listen, options.security, config.insecure()));
  options.metrics_listen.reset();
  if (!config.metrics_listen().empty()) {
    RATION_ASSIGN_OR_RETURN(options.metrics_listen, ListenAddress::Parse("metrics_listen", config.metrics_listen()));
    RATION_RETURN_IF_ERROR(CheckMetricsReach(*options.metrics_listen, config.metrics_insecure() || config.insecure()));
  }
  options.control_listen.reset();
  if (!config.control_listen().empty()) {
    RATION_ASSIGN_OR_RETURN(options.control_listen, ListenAddress::Parse("control_listen", config.control_listen()));
    RATION_RETURN_IF_ERROR(CheckReach("control_listen", *options.control_listen, options.security, config.insecure()));
  }
  if (!config.health_listen().empty()) {  // needs no CheckReach: it tells nothing worth hiding
    RATION_ASSIGN_OR_RETURN(options.health_listen, ListenAddress::Parse("health_listen", config.health_listen()));
  }
  RATION_ASSIGN_OR_RETURN(options.max_queue_time, ParseTimeLimit("max_queue_time", config.max_queue_time()));
  RATION_ASSIGN_OR_RETURN(options.max_prompt_bytes,
                          ParseBytes("max_prompt_bytes", config.max_prompt_bytes(), 1, int64_t{256} << 20));
  RATION_ASSIGN_OR_RETURN(options.grace_period, ParseTime("grace_period", config.grace_period(), absl::ZeroDuration()));
  RATION_ASSIGN_OR_RETURN(options.drain_delay, ParseTime("drain_delay", config.drain_delay(), absl::ZeroDuration()));
  RATION_ASSIGN_OR_RETURN(options.stall_timeout, ParseTime("stall_timeout", config.stall_timeout(), absl::ZeroDuration()));
  RATION_ASSIGN_OR_RETURN(options.slow_reader_timeout,
                          ParseTime("slow_reader_timeout", config.slow_reader_timeout(), absl::Milliseconds(1)));
  RATION_RETURN_IF_ERROR(CheckRange("max_running_requests", config.max_running_requests(), 1, 65536));
  RATION_RETURN_IF_ERROR(CheckRange("max_queued_requests", config.max_queued_requests(), 1, 1 << 20));
  RATION_ASSIGN_OR_RETURN(options.request_log.requests, ParseLoggedRequests(config.log_requests()));
  options.request_log.prompts = config.log_prompts();
  options.max_live_requests = config.max_running_requests() + config.max_queued_requests();
  return options;
}

// What BudgetController does not check, as it depends on the checkpoint, is checked when that is read.
absl::Status ParsePolicy(const v1::ServerConfig& config, Engine::Options* engine) {
  if (config.policy() == "static") {
    engine->budget_policy = BudgetPolicy::kStatic;
  } else if (config.policy() == "preempt") {
    engine->budget_policy = BudgetPolicy::kPreempt;
  } else if (config.policy() != "governor") {
    return Invalid("policy", "governor, static or preempt", Quoted(config.policy()));
  }
  Policy& policy = engine->policy;
  RATION_RETURN_IF_ERROR(CheckNumber("kv_floor", config.kv_floor(), 0, 1));
  RATION_RETURN_IF_ERROR(CheckNumber("kv_ceiling", config.kv_ceiling(), config.kv_floor(), 1));
  RATION_RETURN_IF_ERROR(CheckNumber("rise_per_second", config.rise_per_second(), 1e-6, 1e6));
  RATION_RETURN_IF_ERROR(CheckNumber("dead_band", config.dead_band(), 0, 1));
  RATION_RETURN_IF_ERROR(CheckNumber("headroom", config.headroom(), 0, 0.5));
  RATION_RETURN_IF_ERROR(CheckNumber("admission_overcommit", config.admission_overcommit(), 1, 1000));
  RATION_RETURN_IF_ERROR(CheckRange("max_queued_tokens", config.max_queued_tokens(), 1, int64_t{1} << 40));
  RATION_ASSIGN_OR_RETURN(engine->priority_aging, ParseTime("priority_aging", config.priority_aging(), absl::ZeroDuration()));
  policy.floor = config.kv_floor();
  policy.ceiling = config.kv_ceiling();
  policy.gains.rise_per_second = config.rise_per_second();
  policy.gains.dead_band = config.dead_band();
  policy.gains.headroom = config.headroom();
  policy.admission_overcommit = config.admission_overcommit();
  policy.max_queued_tokens = config.max_queued_tokens();
  return absl::OkStatus();
}

absl::StatusOr<EngineFactoryOptions> ParseEngineOptions(const v1::ServerConfig& config) {
  EngineFactoryOptions options;
  if (config.model().empty()) return absl::InvalidArgumentError("--model: must name the directory of a model");
  options.directory = config.model();
  options.ratio = config.ratio();
  RATION_ASSIGN_OR_RETURN(options.kv_budget_bytes, ParseBytes("kv_budget", config.kv_budget(), 1, int64_t{1} << 50));
  RATION_ASSIGN_OR_RETURN(options.page_bytes, ParseBytes("page_bytes", config.page_bytes(), 0, int64_t{1} << 30));
  const absl::StatusOr<UntrainedRouting> untrained = ParseUntrainedRouting(config.untrained_routing());
  if (!untrained.ok()) return absl::InvalidArgumentError(absl::StrCat("--untrained_routing: ", untrained.status().message()));
  options.untrained_routing = *untrained;
  if (config.decode_rule() == "argmax") {
    options.decode_rule = DecodeRule::kArgmax;
  } else if (config.decode_rule() != "threshold") {
    return Invalid("decode_rule", "threshold or argmax", Quoted(config.decode_rule()));
  }
  if (config.dtype() == "float32") {
    options.compute = ComputeType::kFloat32;
  } else if (config.dtype() == "bfloat16") {
    options.compute = ComputeType::kBFloat16;
  } else if (config.dtype() != "auto") {
    return Invalid("dtype", "auto, float32 or bfloat16", Quoted(config.dtype()));
  }
  RATION_RETURN_IF_ERROR(CheckRange("threads", config.threads(), 0, 1024));
  options.threads = config.threads() > 0 ? static_cast<int>(config.threads())
                                         : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  RATION_RETURN_IF_ERROR(CheckRange("max_batched_tokens", config.max_batched_tokens(), 1, 1 << 20));
  options.engine.max_batched_tokens = config.max_batched_tokens();
  options.engine.max_running_requests = config.max_running_requests();
  options.ladder.assign(config.ladder().begin(), config.ladder().end());
  RATION_RETURN_IF_ERROR(ParsePolicy(config, &options.engine));
  options.engine.policy.max_queued_requests = config.max_queued_requests();
  RATION_ASSIGN_OR_RETURN(options.engine.slow_reader_timeout,
                          ParseTime("slow_reader_timeout", config.slow_reader_timeout(), absl::Milliseconds(1)));
  options.engine.seed = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()));
  return options;
}

// "models/stories/" -> "stories".
std::string LastComponent(absl::string_view directory) {
  while (absl::ConsumeSuffix(&directory, "/")) {
  }
  const size_t slash = directory.rfind('/');
  return std::string(slash == absl::string_view::npos ? directory : directory.substr(slash + 1));
}

}  // namespace

absl::StatusOr<RationdOptions> ParseOptions(const v1::ServerConfig& config) {
  RationdOptions options;
  RATION_ASSIGN_OR_RETURN(options.server, ParseServerOptions(config));
  RATION_ASSIGN_OR_RETURN(options.engine, ParseEngineOptions(config));
  options.model_name = config.model_name().empty() ? LastComponent(config.model()) : config.model_name();
  if (config.log_format() == "json") {
    options.log_format = LogFormat::kJson;
  } else if (config.log_format() != "text") {
    return Invalid("log_format", "text or json", Quoted(config.log_format()));
  }
  RATION_ASSIGN_OR_RETURN(options.log_level, ParseLogLevel(config.log_level()));
  return options;
}

}  // namespace ration
