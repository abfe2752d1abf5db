#include "server/server_options.h"

#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

v1::ServerConfig Valid() {
  v1::ServerConfig flags;
  flags.set_model("models/stories/");
  return flags;
}

TEST(ParseOptions, DefaultsServeOnThisMachineOnly) {
  const auto options = ParseOptions(Valid());
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->server.listen.ToString(), "127.0.0.1:50051");
  EXPECT_EQ(options->server.metrics_listen->ToString(), "127.0.0.1:9091");
  EXPECT_EQ(options->model_name, "stories");
  EXPECT_EQ(options->engine.kv_budget_bytes, int64_t{1} << 30);
  EXPECT_GE(options->engine.threads, 1);
  EXPECT_EQ(options->engine.compute, ComputeType::kAuto);
  EXPECT_EQ(options->engine.decode_rule, DecodeRule::kThreshold);
  // Declared twice: for the operator in config.proto, for the engine's other users in its own options.
  const Policy policy;
  EXPECT_EQ(options->engine.engine.policy.gains.rise_per_second, policy.gains.rise_per_second);
  EXPECT_EQ(options->engine.engine.policy.gains.dead_band, policy.gains.dead_band);
  EXPECT_EQ(options->engine.engine.policy.gains.headroom, policy.gains.headroom);
  EXPECT_EQ(options->engine.engine.policy.max_queued_tokens, policy.max_queued_tokens);
  EXPECT_EQ(options->server.max_live_requests,
            options->engine.engine.max_running_requests + options->engine.engine.policy.max_queued_requests);
}

TEST(ParseOptions, ReadsWhatIsGiven) {
  v1::ServerConfig flags = Valid();
  flags.set_model_name("tales");
  flags.set_listen("[::1]:0");
  flags.set_metrics_listen("");
  flags.set_kv_budget("256MiB");
  flags.set_decode_rule("argmax");
  flags.set_dtype("bfloat16");
  flags.set_threads(3);
  flags.set_page_bytes("4KiB");
  const auto options = ParseOptions(flags);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->model_name, "tales");
  EXPECT_EQ(options->server.listen.host, "::1");
  EXPECT_EQ(options->server.listen.ToString(), "[::1]:0");
  EXPECT_FALSE(options->server.metrics_listen.has_value());
  EXPECT_EQ(options->engine.kv_budget_bytes, 256 << 20);
  EXPECT_EQ(options->engine.decode_rule, DecodeRule::kArgmax);
  EXPECT_EQ(options->engine.compute, ComputeType::kBFloat16);
  EXPECT_EQ(options->engine.threads, 3);
  EXPECT_EQ(options->engine.page_bytes, 4096);
}

TEST(ParseOptions, BindsOtherMachinesAddressesOnlyWithTlsAndAnAccessFileOrWhenToldTo) {
  for (const char* address : {"0.0.0.0:50051", "[::]:1", "192.168.1.4:80", "example.com:80", "127.evil.com:80"}) {
    for (const bool control : {false, true}) {
      v1::ServerConfig flags = Valid();
      (control ? *flags.mutable_control_listen() : *flags.mutable_listen()) = address;
      const auto error = [&] { return std::string(ParseOptions(flags).status().message()); };
      EXPECT_THAT(error(), StartsWith(control ? "--control_listen: " : "--listen: "));
      EXPECT_THAT(error(), HasSubstr("takes TLS (--tls_cert and --tls_key) and an access file (--access_file); or bind"));
      v1::ServerConfig insecure = flags;
      insecure.set_insecure(true);
      EXPECT_TRUE(ParseOptions(insecure).ok()) << address;
      flags.set_tls_cert("c");
      flags.set_tls_key("k");
      EXPECT_THAT(error(), HasSubstr("takes an access file (--access_file); or bind"));
      flags.set_access_file("a");
      EXPECT_TRUE(ParseOptions(flags).ok()) << address;
      flags.clear_tls_cert();
      flags.clear_tls_key();
      EXPECT_THAT(error(), HasSubstr("takes TLS (--tls_cert and --tls_key); or bind"));
    }
  }
  for (const char* address : {"localhost:1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1"}) {
    v1::ServerConfig flags = Valid();
    flags.set_listen(address);
    EXPECT_TRUE(ParseOptions(flags).ok()) << address;
  }
}

TEST(ParseOptions, TheHealthPortMayBindAnyAddress) {
  v1::ServerConfig flags = Valid();
  EXPECT_FALSE(ParseOptions(flags)->server.health_listen.has_value());
  flags.set_health_listen("0.0.0.0:8081");
  const auto options = ParseOptions(flags);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->server.health_listen->ToString(), "0.0.0.0:8081");
}

TEST(ParseOptions, ReadsLogsAndLifeCycle) {
  v1::ServerConfig flags = Valid();
  EXPECT_EQ(ParseOptions(flags)->server.drain_delay, absl::ZeroDuration());
  EXPECT_EQ(ParseOptions(flags)->server.stall_timeout, absl::Seconds(60));
  EXPECT_FALSE(ParseOptions(flags)->server.request_log.prompts);
  flags.set_log_format("json");
  flags.set_log_requests("errors");
  flags.set_log_prompts(true);
  flags.set_drain_delay("5s");
  flags.set_stall_timeout("0");
  const auto options = ParseOptions(flags);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->log_format, LogFormat::kJson);
  EXPECT_EQ(options->server.request_log.requests, LoggedRequests::kErrors);
  EXPECT_TRUE(options->server.request_log.prompts);
  EXPECT_EQ(options->server.drain_delay, absl::Seconds(5));
  EXPECT_EQ(options->server.stall_timeout, absl::ZeroDuration());
}

TEST(ParseOptions, MetricsReachOtherMachinesOnlyWhenToldToWhateverTheOthersDo) {
  v1::ServerConfig flags = Valid();
  flags.set_tls_cert("c");
  flags.set_tls_key("k");
  flags.set_access_file("a");
  flags.set_metrics_listen("0.0.0.0:9091");
  EXPECT_THAT(std::string(ParseOptions(flags).status().message()), StartsWith("--metrics_listen: 0.0.0.0:9091 can be reached"));
  flags.set_metrics_insecure(true);
  EXPECT_TRUE(ParseOptions(flags).ok());
  flags = Valid();
  flags.set_metrics_insecure(true);
  flags.set_listen("0.0.0.0:50051");
  EXPECT_THAT(std::string(ParseOptions(flags).status().message()), StartsWith("--listen: ")) << "it opens nothing else";
}

TEST(ParseOptions, TlsFlagsGoTogether) {
  v1::ServerConfig flags = Valid();
  flags.set_tls_cert("c");
  EXPECT_THAT(std::string(ParseOptions(flags).status().message()), StartsWith("--tls_key: is needed with --tls_cert"));
  flags = Valid();
  flags.set_tls_key("k");
  EXPECT_THAT(std::string(ParseOptions(flags).status().message()), StartsWith("--tls_cert: is needed with --tls_key"));
  flags = Valid();
  flags.set_tls_client_ca("a");
  EXPECT_THAT(std::string(ParseOptions(flags).status().message()), StartsWith("--tls_client_ca: applies only with"));
  flags.set_tls_cert("c");
  flags.set_tls_key("k");
  const auto options = ParseOptions(flags);
  ASSERT_TRUE(options.ok());
  EXPECT_TRUE(options->server.security.has_mutual_tls());
}

TEST(ParseOptions, ReadsTheConnectionLimits) {
  const auto defaults = ParseOptions(Valid());
  ASSERT_TRUE(defaults.ok());
  const ConnectionLimits declared;  // declared twice, like the policy
  EXPECT_EQ(defaults->server.connections.max_connections, declared.max_connections);
  EXPECT_EQ(defaults->server.connections.max_streams_per_connection, declared.max_streams_per_connection);
  EXPECT_EQ(defaults->server.connections.handshake_timeout, declared.handshake_timeout);
  EXPECT_EQ(defaults->server.connections.max_idle, declared.max_idle);
  EXPECT_EQ(defaults->server.connections.max_age, declared.max_age);
  v1::ServerConfig flags = Valid();
  flags.set_max_connections(7);
  flags.set_max_streams_per_connection(8);
  flags.set_handshake_timeout("3s");
  flags.set_max_connection_idle("0");
  flags.set_max_connection_age("1h");
  const auto options = ParseOptions(flags);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->server.connections.max_connections, 7);
  EXPECT_EQ(options->server.connections.max_streams_per_connection, 8);
  EXPECT_EQ(options->server.connections.handshake_timeout, absl::Seconds(3));
  EXPECT_EQ(options->server.connections.max_idle, absl::InfiniteDuration());
  EXPECT_EQ(options->server.connections.max_age, absl::Hours(1));
}

TEST(ParseOptions, NamesFlagLimitAndValue) {
  struct Case {
    std::function<void(v1::ServerConfig&)> spoil;
    std::vector<std::string> says;
  };
  const Case cases[] = {
      {[](v1::ServerConfig& f) { f.set_model(""); }, {"--model: "}},
      {[](v1::ServerConfig& f) { f.set_listen("localhost"); }, {"--listen: ", "HOST:PORT", "localhost"}},
      {[](v1::ServerConfig& f) { f.set_listen(":80"); }, {"--listen: ", "HOST:PORT"}},
      {[](v1::ServerConfig& f) { f.set_listen("::1:80"); }, {"--listen: ", "brackets"}},
      {[](v1::ServerConfig& f) { f.set_listen("localhost:65536"); }, {"--listen: ", "65535", "65536"}},
      {[](v1::ServerConfig& f) { f.set_listen("localhost:x"); }, {"--listen: "}},
      {[](v1::ServerConfig& f) { f.set_kv_budget("12 parsecs"); }, {"--kv_budget: ", "parsecs"}},
      {[](v1::ServerConfig& f) { f.set_kv_budget("0"); }, {"--kv_budget: ", "not 0"}},
      {[](v1::ServerConfig& f) { f.set_kv_budget("-1"); }, {"--kv_budget: ", "-1"}},
      {[](v1::ServerConfig& f) { f.set_decode_rule("best"); }, {"--decode_rule: ", "threshold or argmax", "best"}},
      {[](v1::ServerConfig& f) { f.set_dtype("int8"); }, {"--dtype: ", "bfloat16", "int8"}},
      {[](v1::ServerConfig& f) { f.set_threads(-1); }, {"--threads: ", "-1"}},
      {[](v1::ServerConfig& f) { f.set_max_batched_tokens(0); }, {"--max_batched_tokens: ", "not 0"}},
      {[](v1::ServerConfig& f) { f.set_max_running_requests(0); }, {"--max_running_requests: ", "not 0"}},
      {[](v1::ServerConfig& f) { f.set_max_queued_requests(-3); }, {"--max_queued_requests: ", "-3"}},
      {[](v1::ServerConfig& f) { f.set_max_prompt_bytes("1GiB"); }, {"--max_prompt_bytes: ", "268435456"}},
      {[](v1::ServerConfig& f) { f.set_max_connections(0); }, {"--max_connections: ", "not 0"}},
      {[](v1::ServerConfig& f) { f.set_max_streams_per_connection(-1); }, {"--max_streams_per_connection: ", "-1"}},
      {[](v1::ServerConfig& f) { f.set_handshake_timeout("10ms"); }, {"--handshake_timeout: ", "[1s, 24h]", "10ms"}},
      {[](v1::ServerConfig& f) { f.set_max_connection_idle("-1s"); }, {"--max_connection_idle: ", "-1s"}},
      {[](v1::ServerConfig& f) { f.set_max_connection_age("25h"); }, {"--max_connection_age: ", "24h", "25h"}},
      {[](v1::ServerConfig& f) { f.set_grace_period("-1s"); }, {"--grace_period: ", "-1s"}},
      {[](v1::ServerConfig& f) { f.set_slow_reader_timeout("0"); }, {"--slow_reader_timeout: "}},
      {[](v1::ServerConfig& f) { f.set_grace_period("25"); }, {"--grace_period: ", "30s", "\"25\""}},
      {[](v1::ServerConfig& f) { f.set_grace_period("inf"); }, {"--grace_period: ", "24h", "inf"}},
      {[](v1::ServerConfig& f) { f.set_max_queue_time("-1ns"); }, {"--max_queue_time: ", "-1ns"}},
      {[](v1::ServerConfig& f) { f.set_priority_aging("soon"); }, {"--priority_aging: ", "soon"}},
      {[](v1::ServerConfig& f) { f.set_health_listen("8081"); }, {"--health_listen: ", "HOST:PORT"}},
      {[](v1::ServerConfig& f) { f.set_drain_delay("-1s"); }, {"--drain_delay: ", "-1s"}},
      {[](v1::ServerConfig& f) { f.set_stall_timeout("25h"); }, {"--stall_timeout: ", "24h"}},
      {[](v1::ServerConfig& f) { f.set_log_format("xml"); }, {"--log_format: ", "text or json", "xml"}},
      {[](v1::ServerConfig& f) { f.set_log_requests("some"); }, {"--log_requests: ", "all, errors or none", "some"}},
      {[](v1::ServerConfig& f) { f.set_log_level("loud"); }, {"--log_level: ", "warning", "loud"}},
  };
  for (const Case& bad : cases) {
    v1::ServerConfig flags = Valid();
    bad.spoil(flags);
    const absl::Status status = ParseOptions(flags).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.says[0];
    for (const std::string& part : bad.says) EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

}  // namespace
}  // namespace ration
