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

TEST(ParseOptions, BindsOtherMachinesAddressesOnlyWhenToldTo) {
  for (const char* address : {"0.0.0.0:50051", "[::]:1", "192.168.1.4:80", "example.com:80", "127.evil.com:80"}) {
    v1::ServerConfig flags = Valid();
    flags.set_listen(address);
    EXPECT_THAT(std::string(ParseOptions(flags).status().message()), HasSubstr("--insecure")) << address;
    flags.set_insecure(true);
    EXPECT_TRUE(ParseOptions(flags).ok()) << address;
    flags = Valid();
    flags.set_metrics_listen(address);
    EXPECT_THAT(std::string(ParseOptions(flags).status().message()), StartsWith("--metrics_listen: ")) << address;
  }
  for (const char* address : {"localhost:1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1"}) {
    v1::ServerConfig flags = Valid();
    flags.set_listen(address);
    EXPECT_TRUE(ParseOptions(flags).ok()) << address;
  }
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
      {[](v1::ServerConfig& f) { f.set_grace_period("-1s"); }, {"--grace_period: ", "-1s"}},
      {[](v1::ServerConfig& f) { f.set_slow_reader_timeout("0"); }, {"--slow_reader_timeout: "}},
      {[](v1::ServerConfig& f) { f.set_grace_period("25"); }, {"--grace_period: ", "30s", "\"25\""}},
      {[](v1::ServerConfig& f) { f.set_grace_period("inf"); }, {"--grace_period: ", "24h", "inf"}},
      {[](v1::ServerConfig& f) { f.set_max_queue_time("-1ns"); }, {"--max_queue_time: ", "-1ns"}},
      {[](v1::ServerConfig& f) { f.set_priority_aging("soon"); }, {"--priority_aging: ", "soon"}},
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
