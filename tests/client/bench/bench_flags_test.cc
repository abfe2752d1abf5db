#include "client/bench/bench_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ration {
namespace {

using ::testing::HasSubstr;

TEST(BenchFlagsTest, WithoutFlagsAClosedLoopOfAHundredRequests) {
  BenchOptions options;
  ASSERT_TRUE(ParseBenchFlags({}, &options).ok());
  EXPECT_EQ(options.mode, ArrivalMode::kClosed);
  EXPECT_EQ(options.load.concurrency, 8);
  EXPECT_EQ(options.max_requests, 100);
  EXPECT_TRUE(options.load.ignore_eos);
  EXPECT_TRUE(options.slo.empty());
}

TEST(BenchFlagsTest, FlagsReachTheirOptions) {
  BenchOptions options;
  const absl::Status status =
      ParseBenchFlags({"--mode=gamma", "--rate=2.5", "--burstiness=0.5", "--duration=1m", "--prompt_tokens=3-9",
                       "--output_tokens", "7", "--noignore_eos", "--time_limit=1500ms", "--priority=-3",
                       "--kv_floor=0.25", "--cancel_share=0.1", "--slow_share=0.2", "--slow_pause=3s", "--seed=9",
                       "--slo_ttft_ms=100", "--json", "--control=h:1", "--plot=x.png"},
                      &options);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(options.mode, ArrivalMode::kGamma);
  EXPECT_EQ(options.rate, 2.5);
  EXPECT_EQ(options.burstiness, 0.5);
  EXPECT_EQ(options.load.duration, absl::Minutes(1));
  EXPECT_FALSE(options.max_requests.has_value());
  EXPECT_FALSE(options.load.concurrency.has_value());
  EXPECT_EQ(options.prompt_tokens.high, 9);
  EXPECT_EQ(options.output_tokens.low, 7);
  EXPECT_FALSE(options.load.ignore_eos);
  EXPECT_EQ(options.load.time_limit_ms, 1500);
  EXPECT_EQ(options.load.priority, -3);
  EXPECT_EQ(options.load.kv_floor, 0.25);
  EXPECT_EQ(options.load.slow_pause, absl::Seconds(3));
  EXPECT_EQ(options.load.seed, 9u);
  EXPECT_EQ(options.slo.ttft_ms, 100);
  EXPECT_EQ(options.json, "-");
}

TEST(BenchFlagsTest, WrongFlagsAreNamedWithTheirLimitAndValue) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong = {
      {{"--mode=open"}, "--mode: must be closed, poisson, gamma or trace, not \"open\""},
      {{"--concurrency=0"}, "--concurrency: must be in [1, 100000], not 0"},
      {{"--mode=poisson"}, "--rate: is needed with"},
      {{"--mode=poisson", "--rate=nan"}, "--rate: must be in [1e-6, 1e6], not nan"},
      {{"--mode=poisson", "--rate=-1"}, "not -1"},
      {{"--rate=1"}, "--rate: applies only with"},
      {{"--mode=gamma", "--rate=1"}, "--burstiness: is needed with"},
      {{"--mode=trace"}, "--trace: is needed with"},
      {{"--mode=trace", "--trace=x", "--prompt_tokens=3"}, "--prompt_tokens: applies only with"},
      {{"--mode=trace", "--trace=x", "--speedup=0"}, "--speedup: must be in"},
      {{"--prompt_tokens=9-3"}, "--prompt_tokens: must be N or LOW-HIGH"},
      {{"--duration=0s"}, "--duration: must be in [1ms, 720h], not 0"},
      {{"--time_limit=inf"}, "--time_limit: must be in [1ms, 720h], not inf"},
      {{"--priority=101"}, "--priority: must be in [-100, 100], not 101"},
      {{"--kv_floor=0"}, "--kv_floor: must be in (0, 1], not 0"},
      {{"--cancel_share=1.5"}, "--cancel_share: must be in [0, 1], not 1.5"},
      {{"--slow_pause=1s"}, "--slow_pause: applies only with"},
      {{"--timeline=x.csv"}, "--timeline: applies only with --control"},
      {{"--control=h:1", "--plot=x.pdf"}, "--plot: must end with .svg or .png"},
      {{"--unknown"}, "unknown flag --unknown"},
      {{"now"}, "not \"now\""},
  };
  for (const auto& [arguments, message] : wrong) {
    BenchOptions options;
    const absl::Status status = ParseBenchFlags(arguments, &options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

TEST(BenchFlagsTest, HelpNamesEveryMode) {
  BenchOptions options;
  ASSERT_TRUE(ParseBenchFlags({"--help", "--concurrency=0"}, &options).ok());
  EXPECT_TRUE(options.help);
  EXPECT_THAT(BenchHelp(100), HasSubstr("--burstiness=B"));
}

}  // namespace
}  // namespace ration
