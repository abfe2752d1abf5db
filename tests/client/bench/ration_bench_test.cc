// The whole program against services in this process.
#include "client/bench/ration_bench.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/bench/timeline.h"
#include "tests/client/bench/load_test_service.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Result {
  int exit_status = -1;
  std::string out;
  std::string err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

Result RunBench(const testing::LoadTestService& service, std::vector<std::string> arguments,
                Interruption* interruption = nullptr) {
  std::ostringstream out, err;
  Console console;
  console.out = &out;
  console.err = &err;
  arguments.push_back("--server=" + service.target());
  Interruption none;
  Result result;
  result.exit_status = RunRationBench(arguments, console, interruption == nullptr ? &none : interruption);
  result.out = out.str();
  result.err = err.str();
  return result;
}

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

TEST(RationBenchTest, AClosedLoopCompletesEverythingAndReportsIt) {
  testing::LoadTestService service;
  const Result result =
      RunBench(service, {"--concurrency=4", "--max_requests=30", "--prompt_tokens=5-9", "--output_tokens=6",
                         "--priority=7", "--kv_floor=0.5", "--time_limit=20s", "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const nlohmann::json json = result.json();
  EXPECT_EQ(json["requests"]["sent"], 30);
  EXPECT_EQ(json["requests"]["completed"], 30);
  EXPECT_EQ(json["tokens"]["generated"], 180);
  EXPECT_EQ(json["ttft_seconds"]["count"], 30);
  EXPECT_EQ(json["itl_seconds"]["count"], 150);
  EXPECT_GE(json["e2e_seconds"]["p50"], json["ttft_seconds"]["p50"]);
  EXPECT_DOUBLE_EQ(json["kv"]["mean_fraction"], 0.25);
  EXPECT_EQ(json["kv"]["peak_request_bytes"], 4096);
  EXPECT_EQ(json["kv"]["tokens_regrouped"], 60);
  EXPECT_EQ(json["kv"]["group_sizes"][0], 2);
  const std::vector<v1::GenerateRequest> requests = service.requests();
  ASSERT_EQ(requests.size(), 30u);
  for (const v1::GenerateRequest& request : requests) {
    EXPECT_EQ(request.stopping().max_new_tokens(), 6);
    EXPECT_TRUE(request.stopping().ignore_eos());
    EXPECT_EQ(request.priority(), 7);
    EXPECT_EQ(request.kv_floor(), 0.5);
    EXPECT_EQ(request.time_limit_ms(), 20000);
    EXPECT_GE(request.token_ids().ids_size(), 5);
    EXPECT_LE(request.token_ids().ids_size(), 9);
    for (int32_t id : request.token_ids().ids()) EXPECT_TRUE(id >= 0 && id < 256);
  }
}

TEST(RationBenchTest, AnOpenLoopIsNotHeldBackByResponsesThatDoNotCome) {
  testing::LoadTestService service;
  service.wait_for_streams = 40;  // answers nobody before all have arrived
  const Result result =
      RunBench(service, {"--mode=poisson", "--rate=2000", "--max_requests=40", "--output_tokens=2", "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(result.json()["requests"]["completed"], 40);
}

TEST(RationBenchTest, RefusalsAndFailuresAreCountedByTheirReason) {
  testing::LoadTestService service;
  service.reject_every = 3;
  service.fail_every = 5;
  const Result result =
      RunBench(service, {"--concurrency=1", "--max_requests=15", "--output_tokens=4", "--slo_ttft_ms=1e6", "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const nlohmann::json json = result.json();
  EXPECT_EQ(json["requests"]["rejected"], 5);  // 3, 6, 9, 12, 15
  EXPECT_EQ(json["requests"]["failed"], 2);    // 5, 10
  EXPECT_EQ(json["requests"]["completed"], 8);
  EXPECT_EQ(json["goodput"]["good_requests"], 8);
  ASSERT_EQ(json["errors"].size(), 2u);
  EXPECT_EQ(json["errors"][0]["code"], "RESOURCE_EXHAUSTED");
  EXPECT_EQ(json["errors"][0]["count"], 5);
  EXPECT_EQ(json["errors"][1]["code"], "INTERNAL");
  EXPECT_EQ(json["errors"][1]["outcome"], "failed");
}

TEST(RationBenchTest, AServerThatRefusesEverythingIsAFailedRun) {
  testing::LoadTestService service;
  service.reject_every = 1;
  const Result result = RunBench(service, {"--concurrency=2", "--max_requests=4"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.out, HasSubstr("rejected              4 (100.0 %)"));
  EXPECT_THAT(result.out, HasSubstr("4 x RESOURCE_EXHAUSTED: the queue is full at request"));
}

TEST(RationBenchTest, CancelsOnPurposeAreNoFailures) {
  testing::LoadTestService service;
  service.hang = true;  // after the first token only a cancel ends a stream
  const Result result =
      RunBench(service, {"--concurrency=3", "--max_requests=9", "--output_tokens=1", "--cancel_share=1", "--json"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(result.json()["requests"]["cancelled"], 9);
  EXPECT_EQ(result.json()["requests"]["failed"], 0);
}

TEST(RationBenchTest, SlowReadersEndToo) {
  testing::LoadTestService service;
  const Result result = RunBench(service, {"--concurrency=3", "--max_requests=6", "--output_tokens=20",
                                           "--slow_share=1", "--slow_pause=5ms", "--json"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(result.json()["requests"]["completed"], 6);
  EXPECT_EQ(result.json()["requests"]["slow_readers"], 6);
  EXPECT_EQ(result.json()["ttft_seconds"]["count"], 0);
}

TEST(RationBenchTest, AnInterruptionReportsWhatThereIs) {
  testing::LoadTestService service;
  service.hang = true;
  Interruption interruption;
  service.on_stream = [&interruption] { interruption.Interrupt(); };
  const Result result = RunBench(service, {"--concurrency=5", "--duration=1h", "--json"}, &interruption);
  EXPECT_EQ(result.exit_status, 130);
  EXPECT_EQ(result.json()["requests"]["sent"], result.json()["requests"]["interrupted"]);
  EXPECT_GE(result.json()["requests"]["sent"], 1);
}

TEST(RationBenchTest, ATraceIsPlayedWithItsLengthsClippedToTheContext) {
  testing::LoadTestService service;
  service.context_tokens = 64;
  const std::string path = ::testing::TempDir() + "/trace.jsonl";
  ASSERT_TRUE(WriteFile(path,
                        "{\"timestamp\": 0, \"input_length\": 20, \"output_length\": 8}\n"
                        "{\"timestamp\": 10, \"input_length\": 9000, \"output_length\": 4}\n")
                  .ok());
  const Result result =
      RunBench(service, {"--mode=trace", "--trace=" + path, "--speedup=10", "--length_scale=0.5", "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(result.json()["requests"]["completed"], 2);
  EXPECT_EQ(result.json()["requests"]["clipped"], 1);
  EXPECT_EQ(result.json()["tokens"]["prompt"], 10 + 62);
  EXPECT_EQ(result.json()["tokens"]["generated"], 4 + 2);
}

TEST(RationBenchTest, ABadTraceIsNamedWithItsLine) {
  testing::LoadTestService service;
  const std::string path = ::testing::TempDir() + "/bad.jsonl";
  ASSERT_TRUE(WriteFile(path, "{\"timestamp\": 0}\n").ok());
  const Result result = RunBench(service, {"--mode=trace", "--trace=" + path});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr(path + ":1: no field \"input_length\""));
}

TEST(RationBenchTest, PromptsAreTakenFromAFile) {
  testing::LoadTestService service;
  const std::string path = ::testing::TempDir() + "/prompt.txt";
  ASSERT_TRUE(WriteFile(path, "aaaa").ok());
  const Result result = RunBench(service, {"--max_requests=3", "--prompt_tokens=9", "--prompt_file=" + path, "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  for (const v1::GenerateRequest& request : service.requests()) {
    EXPECT_EQ(request.token_ids().ids_size(), 9);
    for (int32_t id : request.token_ids().ids()) EXPECT_EQ(id, 'a');
  }
}

TEST(RationBenchTest, StatesAreSampledSummarisedAndWritten) {
  testing::LoadTestService service;
  service.states.resize(2);
  for (v1::ServerState& state : service.states) state.set_budget_bytes(1000);
  service.states[0].set_used_bytes(300);
  service.states[1].set_used_bytes(700);
  service.states[1].set_pressure(0.7);
  service.states[1].set_requests_waiting(12);
  service.states[1].set_preemptions(3);
  service.wait_for_streams = 1;
  const std::string path = ::testing::TempDir() + "/timeline.csv";
  // Long enough for both states to arrive: the slow reader's pause.
  const Result result =
      RunBench(service, {"--concurrency=1", "--max_requests=1", "--slow_share=1", "--slow_pause=1500ms",
                         "--control=" + service.target(), "--timeline=" + path, "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const nlohmann::json state = result.json()["state"];
  EXPECT_EQ(state["samples"], 2);
  EXPECT_EQ(state["peak_used_bytes"], 700);
  EXPECT_EQ(state["peak_waiting"], 12);
  EXPECT_EQ(state["preemptions"], 3);
  EXPECT_THAT(Content(path), StartsWith("seconds,pressure,"));
  EXPECT_THAT(Content(path), HasSubstr(",0.700000,700,1000,"));
}

TEST(RationBenchTest, AServerWithoutControlApiIsSaidSo) {
  testing::LoadTestService service;
  const Result result = RunBench(service, {"--max_requests=1", "--control=" + service.target()});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, HasSubstr("--control=" + service.target()));
  EXPECT_THAT(result.err, HasSubstr("has no such service"));
}

TEST(RationBenchTest, AServerThatIsNotThereIsSaidSoWithItsAddress) {
  std::string target;
  {
    testing::LoadTestService gone;
    target = gone.target();
  }
  std::ostringstream out, err;
  Console console;
  console.out = &out;
  console.err = &err;
  Interruption interruption;
  EXPECT_EQ(RunRationBench({"--server=" + target}, console, &interruption), 1);
  EXPECT_THAT(err.str(), HasSubstr("UNAVAILABLE: --server=" + target));
  EXPECT_THAT(err.str(), HasSubstr("Is rationd running there?"));
  EXPECT_EQ(out.str(), "");
}

TEST(RationBenchTest, AWrongFlagIsAUsageError) {
  testing::LoadTestService service;
  const Result result = RunBench(service, {"--concurrency=0"});
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_THAT(result.err, HasSubstr("--concurrency: must be in [1, 100000], not 0"));
}

}  // namespace
}  // namespace ration
