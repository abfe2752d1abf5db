// What a greedy tenant costs a light one, on a real model's engine: the light tenant's time to first token alone,
// beside a greedy tenant that always has many requests waiting, and what fair sharing and quotas make of it. Not a
// test; run by hand:
//   bazel run -c opt //tests/bench:tenant_bench -- --model=$PWD/deploy/models/stories-mixsga
// The light tenant's requests come at fixed times whatever the engine does (open loop), so waiting for a step to end
// counts too.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "engine/base/clock.h"
#include "engine/engine.h"
#include "engine/engine_factory.h"

ABSL_FLAG(std::string, model, "deploy/models/stories-mixsga", "directory of a routed model");
ABSL_FLAG(int, threads, 2, "compute threads");
ABSL_FLAG(double, seconds, 10, "of each case in each round");
ABSL_FLAG(int, rounds, 3, "the cases take turns, so that what else the machine does meets all of them");
ABSL_FLAG(int64_t, budget_mib, 8, "KV budget");
ABSL_FLAG(int64_t, light_prompt, 256, "prompt tokens of the light tenant's requests; 16 are generated");
ABSL_FLAG(int, light_interval_ms, 150, "between two of them");
ABSL_FLAG(int64_t, greedy_prompt, 400, "prompt tokens of the greedy tenant's requests; 100 are generated");
ABSL_FLAG(int, greedy_outstanding, 100, "requests the greedy tenant keeps running or waiting");
ABSL_FLAG(int64_t, greedy_kv_kib, 256, "the greedy tenant's max_kv_bytes where it has quotas");
ABSL_FLAG(double, greedy_rate, 500, "its max_tokens_per_second in the last case");

namespace ration::bench {
namespace {

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

class TimingSink final : public OutputSink {
 public:
  TimingSink(absl::Time due, int64_t* tokens) : due_(due), tokens_(tokens) {}
  bool OnDelta(GenerationDelta delta) override {
    if (!first_.has_value() && !delta.token_ids.empty()) first_ = Clock::Real()->Now();
    *tokens_ += static_cast<int64_t>(delta.token_ids.size());
    if (delta.finish.has_value()) finished_ = true;
    return true;
  }
  bool finished() const { return finished_; }
  absl::Time due() const { return due_; }
  std::optional<double> ttft_ms() const {
    if (!first_.has_value()) return std::nullopt;
    return absl::ToDoubleMilliseconds(*first_ - due_);
  }

 private:
  const absl::Time due_;
  int64_t* const tokens_;
  std::optional<absl::Time> first_;
  bool finished_ = false;
};

struct Case {
  const char* name;
  bool greedy = true;
  std::vector<TenantQuota> tenants;
  int64_t max_batched_tokens = 2048;
  // Of all rounds.
  std::vector<double> ttft_ms = {};
  int64_t unserved = 0, light_tokens = 0, greedy_tokens = 0;
};

class Load {
 public:
  explicit Load(Case* running) : case_(running) {
    EngineFactoryOptions options;
    options.directory = absl::GetFlag(FLAGS_model);
    options.threads = absl::GetFlag(FLAGS_threads);
    options.kv_budget_bytes = absl::GetFlag(FLAGS_budget_mib) << 20;
    options.engine.max_running_requests = 64;
    options.engine.max_batched_tokens = running->max_batched_tokens;
    loaded_ = OrDie(LoadEngine(options, Clock::Real()));
    if (const absl::Status set = loaded_.engine->SetTenants(running->tenants); !set.ok()) OrDie<int>(set);
  }

  void Run() {
    const absl::Time start = Clock::Real()->Now();
    const absl::Time warm = start + absl::Seconds(1);
    const absl::Time end = warm + absl::Seconds(absl::GetFlag(FLAGS_seconds));
    const absl::Duration interval = absl::Milliseconds(absl::GetFlag(FLAGS_light_interval_ms));
    absl::Time next_light = warm;
    std::deque<std::unique_ptr<TimingSink>> light, greedy;
    for (absl::Time now = start; now < end; now = Clock::Real()->Now()) {
      for (; next_light <= now && next_light < end; next_light += interval) {
        light.push_back(std::make_unique<TimingSink>(next_light, &case_->light_tokens));
        Submit("light", absl::GetFlag(FLAGS_light_prompt), 16, light.back().get());
      }
      greedy.erase(std::remove_if(greedy.begin(), greedy.end(), [](const auto& sink) { return sink->finished(); }), greedy.end());
      while (case_->greedy && static_cast<int>(greedy.size()) < absl::GetFlag(FLAGS_greedy_outstanding)) {
        greedy.push_back(std::make_unique<TimingSink>(now, &case_->greedy_tokens));
        Submit("greedy", absl::GetFlag(FLAGS_greedy_prompt), 100, greedy.back().get());
      }
      loaded_.engine->Step();
    }
    for (const auto& sink : light) {
      if (sink->ttft_ms().has_value()) {
        case_->ttft_ms.push_back(*sink->ttft_ms());
      } else {
        ++case_->unserved;
        case_->ttft_ms.push_back(absl::ToDoubleMilliseconds(end - sink->due()));  // at least
      }
    }
    loaded_.engine.reset();  // while the sinks live
  }

 private:
  void Submit(const char* tenant, int64_t prompt, int64_t new_tokens, TimingSink* sink) {
    GenerationRequest request;
    request.request_id = absl::StrCat("r", ++submitted_);
    request.tenant = tenant;
    for (int64_t t = 0; t < prompt; ++t) {
      request.prompt_tokens.push_back(static_cast<int32_t>(3 + (t * 7 + submitted_ * 13) % (loaded_.info.vocab_size - 3)));
    }
    request.sampling.temperature = 0;
    request.stopping.max_new_tokens = new_tokens;
    request.stopping.ignore_eos = true;
    if (const absl::Status status = loaded_.engine->Submit(std::move(request), sink); !status.ok()) OrDie<int>(status);
  }

  Case* const case_;
  LoadedEngine loaded_;
  int64_t submitted_ = 0;
};

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

void Run() {
  TenantQuota light, greedy, capped, limited;
  light.tenant = "light";
  greedy.tenant = capped.tenant = limited.tenant = "greedy";
  capped.max_kv_bytes = limited.max_kv_bytes = absl::GetFlag(FLAGS_greedy_kv_kib) << 10;
  limited.max_tokens_per_second = absl::GetFlag(FLAGS_greedy_rate);
  std::vector<Case> cases = {{"alone", false, {}},
                             {"beside greedy, tenants unknown", true, {}},
                             {"fair sharing", true, {light, greedy}},
                             {"fair sharing, greedy's KV limited", true, {light, capped}},
                             {"the same, 512 tokens a step", true, {light, capped}, 512},
                             {"the same, greedy's tokens/s limited too", true, {light, limited}, 512}};
  for (int round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    for (Case& running : cases) Load(&running).Run();
  }
  std::printf("light: %ld + 16 tokens every %d ms; greedy: always %d requests of %ld + 100 tokens; KV budget %ld MiB, quota %ld KiB "
              "and %.0f tokens/s; %d threads\n",
              static_cast<long>(absl::GetFlag(FLAGS_light_prompt)), absl::GetFlag(FLAGS_light_interval_ms),
              absl::GetFlag(FLAGS_greedy_outstanding), static_cast<long>(absl::GetFlag(FLAGS_greedy_prompt)),
              static_cast<long>(absl::GetFlag(FLAGS_budget_mib)), static_cast<long>(absl::GetFlag(FLAGS_greedy_kv_kib)),
              absl::GetFlag(FLAGS_greedy_rate), absl::GetFlag(FLAGS_threads));
  std::printf("| case | light's TTFT p50 ms | p99 ms | p50 against alone | p99 against alone | not served | light tokens/s | greedy "
              "tokens/s |\n|---|---|---|---|---|---|---|---|\n");
  const double seconds = absl::GetFlag(FLAGS_seconds) * absl::GetFlag(FLAGS_rounds);
  for (const Case& shown : cases) {
    const double p50 = Quantile(shown.ttft_ms, 0.5), p99 = Quantile(shown.ttft_ms, 0.99);
    std::printf("| %s | %.1f | %.1f | %.2f | %.2f | %ld of %zu | %.0f | %.0f |\n", shown.name, p50, p99,
                p50 / Quantile(cases[0].ttft_ms, 0.5), p99 / Quantile(cases[0].ttft_ms, 0.99), static_cast<long>(shown.unserved),
                shown.ttft_ms.size(), static_cast<double>(shown.light_tokens) / seconds,
                static_cast<double>(shown.greedy_tokens) / seconds);
  }
}

}  // namespace
}  // namespace ration::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  ration::bench::Run();
  return 0;
}
