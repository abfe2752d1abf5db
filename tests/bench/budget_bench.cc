// What keeping a budget costs and brings, on a real model's engine:
//   - halving the budget under running streams: time, bytes given back, resident memory, against computing the same tokens again;
//   - how many requests run at once in one budget at full KV, at a fixed ratio and under the governor;
//   - what governor, admission and planning take of a decode step.
// Not a test; run by tests/bench/run.sh.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "engine/base/byte_size.h"
#include "engine/base/clock.h"
#include "engine/engine.h"
#include "engine/engine_factory.h"
#include "tests/bench/read_bandwidth.h"

ABSL_FLAG(std::string, model, "deploy/models/stories-mixsga", "directory of a routed model");
ABSL_FLAG(int, threads, 2, "compute threads");
ABSL_FLAG(int, streams, 64, "requests that run while the budget is halved");
ABSL_FLAG(int, prompt, 300, "their prompt tokens");
ABSL_FLAG(int, repetitions, 5, "of the halving; medians are shown");

namespace ration::bench {
namespace {

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int64_t ResidentBytes() {
  FILE* file = std::fopen("/proc/self/statm", "r");
  long total = 0, resident = 0;
  if (file == nullptr || std::fscanf(file, "%ld %ld", &total, &resident) != 2) std::exit(1);
  std::fclose(file);
  return resident * sysconf(_SC_PAGESIZE);
}

class CountingSink : public OutputSink {
 public:
  bool OnDelta(GenerationDelta delta) override {
    tokens += static_cast<int64_t>(delta.token_ids.size());
    if (delta.finish) {
      finished = true;
      complete = delta.finish->reason == FinishReason::kLength;
    }
    return true;
  }
  int64_t tokens = 0;
  bool finished = false, complete = false;
};

LoadedEngine Load(int64_t budget_bytes, const std::string& ratio, BudgetPolicy policy, int64_t max_running) {
  EngineFactoryOptions options;
  options.directory = absl::GetFlag(FLAGS_model);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.kv_budget_bytes = budget_bytes;
  options.ratio = ratio;
  options.engine.budget_policy = policy;
  options.engine.max_running_requests = max_running;
  options.engine.policy.max_queued_requests = 4096;
  return OrDie(LoadEngine(options, Clock::Real()));
}

void Submit(LoadedEngine& loaded, int index, int64_t prompt, int64_t new_tokens, CountingSink* sink) {
  GenerationRequest request;
  request.request_id = absl::StrCat("r", index);
  for (int64_t t = 0; t < prompt; ++t) {
    request.prompt_tokens.push_back(static_cast<int32_t>(3 + (t * 7 + index * 13) % (loaded.info.vocab_size - 3)));
  }
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = new_tokens;
  request.stopping.ignore_eos = true;
  const absl::Status status = loaded.engine->Submit(std::move(request), sink);
  if (!status.ok()) OrDie<int>(status);
}

void Halve() {
  const int streams = absl::GetFlag(FLAGS_streams);
  const int64_t prompt = absl::GetFlag(FLAGS_prompt), new_tokens = 120;
  std::vector<double> milliseconds, bytes_per_second, resident, recompute, cheaper, bandwidth;
  int64_t used = 0, reclaimed = 0, budget = 0, finished = 0, regrouped = 0;
  for (int repetition = 0; repetition < absl::GetFlag(FLAGS_repetitions); ++repetition) {
    LoadedEngine loaded = Load(int64_t{256} << 20, "1:0:0", BudgetPolicy::kGovernor, 256);
    Engine& engine = *loaded.engine;
    std::vector<CountingSink> sinks(streams);
    for (int i = 0; i < streams; ++i) Submit(loaded, i, prompt, new_tokens, &sinks[i]);
    const double begin = Seconds();
    while (std::any_of(sinks.begin(), sinks.end(), [](const CountingSink& sink) { return sink.tokens == 0; })) engine.Step();
    const double prefill = Seconds() - begin;
    for (int i = 0; i < 40; ++i) engine.Step();
    // To just what is used first, so that the cut is all regrouping.
    used = engine.stats().kv_used_bytes;
    const auto set = [&](int64_t bytes) {
      BudgetResult result;
      bool done = false;
      engine.SetBudget({bytes, false}, std::nullopt, [&](absl::StatusOr<BudgetResult> answer) {
        result = OrDie(std::move(answer));
        done = true;
      });
      while (!done) engine.Step();
      return result;
    };
    used = set(used + used / 16).budget_bytes * 16 / 17;
    const int64_t resident_before = ResidentBytes();
    const double cut_begin = Seconds();
    const BudgetResult result = set(used / 2);
    const double seconds = Seconds() - cut_begin;
    const int64_t resident_after = ResidentBytes();
    if (engine.stats().kv_used_bytes > result.budget_bytes) std::exit(1);
    budget = result.budget_bytes;
    reclaimed = result.reclaimed_bytes;
    regrouped = result.regrouped_token_layers / engine.stats().num_layers;
    milliseconds.push_back(seconds * 1e3);
    resident.push_back(static_cast<double>(resident_before - resident_after));
    const double tokens = static_cast<double>(streams) * static_cast<double>(prompt + 41);
    recompute.push_back(prefill * tokens / static_cast<double>(streams * prompt) * 1e3);
    cheaper.push_back(recompute.back() / milliseconds.back());
    // What the tokens moved took before and take after.
    bytes_per_second.push_back(static_cast<double>(used + result.budget_bytes) / seconds);
    ReadBandwidthOptions read;
    read.num_threads = absl::GetFlag(FLAGS_threads);
    bandwidth.push_back(MeasureReadBandwidth(read));
    while (engine.HasRequests()) engine.Step();
    finished = std::count_if(sinks.begin(), sinks.end(), [](const CountingSink& sink) { return sink.complete; });
  }
  std::printf("halving the budget under %d streams of %ld + 41 tokens, from full KV: %s in use, budget set to %s\n", streams,
              static_cast<long>(prompt), FormatByteSize(used).c_str(), FormatByteSize(budget).c_str());
  std::printf("| ms until used <= budget | tokens regrouped | reclaimed | resident memory fell by | GB/s read + written | machine "
              "reads GB/s | computing them again, ms | times cheaper | streams that finished |\n|---|---|---|---|---|---|---|---|---|\n");
  std::printf("| %.2f | %ld | %s | %s | %.2f | %.1f | %.0f | %.0f | %ld of %d |\n\n", Median(milliseconds),
              static_cast<long>(regrouped), FormatByteSize(reclaimed).c_str(),
              FormatByteSize(static_cast<int64_t>(Median(resident))).c_str(), Median(bytes_per_second) / 1e9,
              Median(bandwidth) / 1e9, Median(recompute), Median(cheaper), static_cast<long>(finished), streams);
}

void Concurrency() {
  std::printf("requests of 200 + 200 tokens that run at once in 8 MiB\n| policy | ratio | at once | times full KV | peak used "
              "| preempted |\n|---|---|---|---|---|---|\n");
  double full = 0;
  const struct {
    const char* name;
    BudgetPolicy policy;
    const char* ratio;
  } cases[] = {{"static", BudgetPolicy::kStatic, "1:0:0"},
               {"static", BudgetPolicy::kStatic, "3:1:6"},
               {"static", BudgetPolicy::kStatic, "0:0:1"},
               {"governor", BudgetPolicy::kGovernor, "3:1:6"},
               {"governor", BudgetPolicy::kGovernor, ""}};
  for (const auto& c : cases) {
    LoadedEngine loaded = Load(int64_t{8} << 20, c.ratio, c.policy, 512);
    std::vector<CountingSink> sinks(200);
    for (size_t i = 0; i < sinks.size(); ++i) Submit(loaded, static_cast<int>(i), 200, 200, &sinks[i]);
    int64_t running = 0, used = 0;
    while (loaded.engine->HasRequests()) {
      loaded.engine->Step();
      running = std::max(running, loaded.engine->stats().requests_running);
      used = std::max(used, loaded.engine->stats().kv_used_bytes);
    }
    if (full == 0) full = static_cast<double>(running);
    std::printf("| %s | %s | %ld | %.2f | %s | %ld |\n", c.name, *c.ratio == '\0' ? "automatic" : c.ratio,
                static_cast<long>(running), static_cast<double>(running) / full, FormatByteSize(used).c_str(),
                static_cast<long>(loaded.engine->stats().preemptions));
  }
  std::printf("\n");
}

void ControlCost() {
  std::printf("governor, admission and planning against the step, decoding\n| batch | ms a step | control us | share |\n|---|---|---|---|\n");
  for (int batch : {1, 32, 128}) {
    std::vector<CountingSink> sinks(batch);  // outlives the engine, which ends what still runs
    LoadedEngine loaded = Load(int64_t{64} << 20, "", BudgetPolicy::kGovernor, 256);
    for (int i = 0; i < batch; ++i) Submit(loaded, i, 64, 300, &sinks[i]);
    for (int i = 0; i < 20; ++i) loaded.engine->Step();
    std::vector<double> steps, control;
    for (int i = 0; i < 200; ++i) {
      const double step_before = loaded.engine->stats().step_seconds.sum;
      const double control_before = loaded.engine->stats().control_seconds.sum;
      loaded.engine->Step();
      steps.push_back(loaded.engine->stats().step_seconds.sum - step_before);
      control.push_back(loaded.engine->stats().control_seconds.sum - control_before);
    }
    std::printf("| %d | %.3f | %.1f | %.2f %% |\n", batch, Median(steps) * 1e3, Median(control) * 1e6,
                100 * Median(control) / Median(steps));
  }
}

}  // namespace
}  // namespace ration::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  ration::bench::Halve();
  ration::bench::Concurrency();
  ration::bench::ControlCost();
  return 0;
}
