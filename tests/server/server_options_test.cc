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

FlagValues Valid() {
  FlagValues flags;
  flags.model = "models/stories/";
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
  EXPECT_EQ(options->server.max_live_requests,
            options->engine.engine.max_running_requests + options->engine.engine.policy.max_queued_requests);
}

TEST(ParseOptions, ReadsWhatIsGiven) {
  FlagValues flags = Valid();
  flags.model_name = "tales";
  flags.listen = "[::1]:0";
  flags.metrics_listen = "";
  flags.kv_budget = "256MiB";
  flags.decode_rule = "argmax";
  flags.dtype = "bfloat16";
  flags.threads = 3;
  flags.page_bytes = "4KiB";
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
    FlagValues flags = Valid();
    flags.listen = address;
    EXPECT_THAT(std::string(ParseOptions(flags).status().message()), HasSubstr("--insecure")) << address;
    flags.insecure = true;
    EXPECT_TRUE(ParseOptions(flags).ok()) << address;
    flags = Valid();
    flags.metrics_listen = address;
    EXPECT_THAT(std::string(ParseOptions(flags).status().message()), StartsWith("--metrics_listen: ")) << address;
  }
  for (const char* address : {"localhost:1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1"}) {
    FlagValues flags = Valid();
    flags.listen = address;
    EXPECT_TRUE(ParseOptions(flags).ok()) << address;
  }
}

TEST(ParseOptions, NamesFlagLimitAndValue) {
  struct Case {
    std::function<void(FlagValues&)> spoil;
    std::vector<std::string> says;
  };
  const Case cases[] = {
      {[](FlagValues& f) { f.model = ""; }, {"--model: "}},
      {[](FlagValues& f) { f.listen = "localhost"; }, {"--listen: ", "HOST:PORT", "localhost"}},
      {[](FlagValues& f) { f.listen = ":80"; }, {"--listen: ", "HOST:PORT"}},
      {[](FlagValues& f) { f.listen = "::1:80"; }, {"--listen: ", "brackets"}},
      {[](FlagValues& f) { f.listen = "localhost:65536"; }, {"--listen: ", "65535", "65536"}},
      {[](FlagValues& f) { f.listen = "localhost:x"; }, {"--listen: "}},
      {[](FlagValues& f) { f.kv_budget = "12 parsecs"; }, {"--kv_budget: ", "parsecs"}},
      {[](FlagValues& f) { f.kv_budget = "0"; }, {"--kv_budget: ", "not 0"}},
      {[](FlagValues& f) { f.kv_budget = "-1"; }, {"--kv_budget: ", "-1"}},
      {[](FlagValues& f) { f.decode_rule = "best"; }, {"--decode_rule: ", "threshold or argmax", "best"}},
      {[](FlagValues& f) { f.dtype = "int8"; }, {"--dtype: ", "bfloat16", "int8"}},
      {[](FlagValues& f) { f.threads = -1; }, {"--threads: ", "-1"}},
      {[](FlagValues& f) { f.max_batched_tokens = 0; }, {"--max_batched_tokens: ", "not 0"}},
      {[](FlagValues& f) { f.max_running_requests = 0; }, {"--max_running_requests: ", "not 0"}},
      {[](FlagValues& f) { f.max_queued_requests = -3; }, {"--max_queued_requests: ", "-3"}},
      {[](FlagValues& f) { f.max_prompt_bytes = "1GiB"; }, {"--max_prompt_bytes: ", "268435456"}},
      {[](FlagValues& f) { f.grace_period = absl::Seconds(-1); }, {"--grace_period: ", "-1s"}},
      {[](FlagValues& f) { f.slow_reader_timeout = absl::ZeroDuration(); }, {"--slow_reader_timeout: "}},
      {[](FlagValues& f) { f.log_level = "loud"; }, {"--log_level: ", "warning", "loud"}},
  };
  for (const Case& bad : cases) {
    FlagValues flags = Valid();
    bad.spoil(flags);
    const absl::Status status = ParseOptions(flags).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad.says[0];
    for (const std::string& part : bad.says) EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

}  // namespace
}  // namespace ration
