// Tokens per second of the whole engine - schedule, forward, sample, deliver - on random bfloat16 weights in the shapes
// of real models, beside the floor that no program can pass on this machine: a decode step must read every weight and
// its sequences' keys and values once (bytes / read bandwidth), and a step of many rows must do its multiplications
// (operations / the rate of products whose operands are in the cache). Both rates are measured in the same run, next to
// each figure.
// Not a test; run by tests/bench/run.sh. Needs 4 GB of memory for the 1B shape.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/clock.h"
#include "engine/budget/router_cache.h"
#include "engine/engine.h"
#include "engine/model/model_factory.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/gemm.h"
#include "tests/bench/machine_probe.h"
#include "tests/bench/random_weights.h"

ABSL_FLAG(int, threads, 2, "compute threads");
ABSL_FLAG(std::string, only, "", "only models whose name contains this");
ABSL_FLAG(int, steps, 24, "decode steps timed for each batch");
ABSL_FLAG(int, prompt, 64, "prompt tokens of each decoding sequence");
ABSL_FLAG(int, prefill, 512, "prompt tokens of the prefill figure; 0: none");
ABSL_FLAG(std::string, batches, "1,4,16,32", "sequences decoding together");

namespace ration::bench {
namespace {

constexpr int64_t kKvBudgetBytes = int64_t{1} << 30;

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}

ModelConfig BaseConfig() {
  ModelConfig config;
  config.architecture = "LlamaForCausalLM";
  config.max_positions = 8192;
  config.tie_word_embeddings = true;
  config.torch_dtype = "bfloat16";
  return config;
}

ModelConfig Llama1B() {
  ModelConfig config = BaseConfig();
  config.hidden_size = config.embedding_size = 2048;
  config.intermediate_size = 8192;
  config.num_layers = 16;
  config.num_query_heads = 32;
  config.num_kv_heads = 8;
  config.head_dim = 64;
  config.vocab_size = 128256;
  config.rope_theta = 500000;
  return config;
}

ModelConfig Small42M() {
  ModelConfig config = BaseConfig();
  config.hidden_size = config.embedding_size = 512;
  config.intermediate_size = 1376;
  config.num_layers = 8;
  config.num_query_heads = 8;
  config.num_kv_heads = 8;
  config.head_dim = 64;
  config.vocab_size = 32000;
  return config;
}

// Counts a request's tokens.
class CountingSink : public OutputSink {
 public:
  bool OnDelta(GenerationDelta delta) override {
    tokens += static_cast<int64_t>(delta.token_ids.size());
    if (delta.finish) {
      finished = true;
      failed = delta.finish->reason != FinishReason::kLength;
    }
    return true;
  }
  int64_t tokens = 0;
  bool finished = false;
  bool failed = false;
};

class EngineBench {
 public:
  EngineBench(const char* name, const ModelConfig& config, kernels::cpu::ThreadPool* pool)
      : name_(name), config_(config), probe_(kernels::DType::kBF16, pool) {
    ModelOptions options;
    options.kv_budget_bytes = kKvBudgetBytes;
    const double begin = Seconds();
    serving_ = OrDie(BuildServingModel(RandomWeights(1), config, options, pool));
    std::printf("\n%s: %.1f M weights in %.2f GB, packed in %.1f s; %ld prompt tokens a sequence, %d steps timed\n\n",
                name, NumWeights() / 1e6, serving_.model->weight_bytes() / 1e9, Seconds() - begin,
                static_cast<long>(absl::GetFlag(FLAGS_prompt)), absl::GetFlag(FLAGS_steps));
    std::printf(
        "| what | tokens/s | ms a step | bytes read / GB | at GB/s | machine GB/s | of the bytes' floor | TFLOP/s | "
        "machine "
        "TFLOP/s | of the higher floor |\n|---|---|---|---|---|---|---|---|---|---|\n");
    Engine::Options engine;
    engine.num_pages = serving_.num_pages;
    RouterCache::Options routers;
    routers.num_layers = static_cast<int>(config.num_layers);
    routers.num_experts = 1;
    routers_ = OrDie(RouterCache::Create(routers));
    engine_ = OrDie(Engine::Create(engine, *serving_.spec, serving_.model.get(), routers_.get(), serving_.store.get(),
                                   nullptr, Clock::Real()));
  }

  void Decode(int batch) {
    const int64_t prompt = absl::GetFlag(FLAGS_prompt), steps = absl::GetFlag(FLAGS_steps);
    std::vector<CountingSink> sinks(batch);
    // 2 steps before the timed ones, so that the last prefill and the first wake-ups do not count.
    for (int i = 0; i < batch; ++i) Submit(i, prompt, steps + 8, &sinks[i]);
    while (std::any_of(sinks.begin(), sinks.end(), [](const CountingSink& sink) { return sink.tokens < 3; }))
      engine_->Step();
    const MachineRates before = probe_.Measure();
    const int64_t tokens_before = Tokens(sinks);
    std::vector<double> seconds;
    while (std::none_of(sinks.begin(), sinks.end(), [](const CountingSink& sink) { return sink.finished; })) {
      const double begin = Seconds();
      engine_->Step();
      seconds.push_back(Seconds() - begin);
    }
    if (Tokens(sinks) - tokens_before != static_cast<int64_t>(seconds.size()) * batch)
      Die("a step did not give every sequence a token");
    const MachineRates after = probe_.Measure();
    while (engine_->HasRequests()) engine_->Step();
    CheckFinished(sinks);
    std::sort(seconds.begin(), seconds.end());
    const double kv_bytes = static_cast<double>(batch) * (prompt + steps / 2) * serving_.spec->bytes_per_token(0);
    Print(absl::StrCat("decode, batch ", batch), batch, seconds[seconds.size() / 2],
          serving_.model->weight_bytes() + kv_bytes, 2.0 * NumWeights() * batch, before, after);
  }

  void Prefill() {
    const int64_t prompt = absl::GetFlag(FLAGS_prefill);
    std::vector<double> seconds;
    const MachineRates before = probe_.Measure();
    for (int i = 0; i < 4; ++i) {
      std::vector<CountingSink> sinks(1);
      Submit(i, prompt, 1, &sinks[0]);
      const double begin = Seconds();
      while (!sinks[0].finished) engine_->Step();
      seconds.push_back(Seconds() - begin);
      CheckFinished(sinks);
    }
    const MachineRates after = probe_.Measure();
    std::sort(seconds.begin(), seconds.end());
    // Only the last token needs the output matrix.
    const double output = static_cast<double>(config_.vocab_size) * config_.hidden_size;
    Print(absl::StrCat("prefill of ", prompt), prompt, seconds[1], serving_.model->weight_bytes(),
          2.0 * ((NumWeights() - output) * prompt + output), before, after);
  }

 private:
  [[noreturn]] static void Die(const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::exit(1);
  }

  void Submit(int id, int64_t prompt, int64_t max_new_tokens, CountingSink* sink) {
    GenerationRequest request;
    request.request_id = absl::StrCat("request ", id);
    for (int64_t i = 0; i < prompt; ++i)
      request.prompt_tokens.push_back(static_cast<int32_t>((id * 7919 + i * 31) % config_.vocab_size));
    request.sampling.temperature = 0;
    request.stopping.max_new_tokens = max_new_tokens;
    request.stopping.ignore_eos = true;
    const absl::Status status = engine_->Submit(std::move(request), sink);
    if (!status.ok()) Die(status.ToString());
  }

  static int64_t Tokens(const std::vector<CountingSink>& sinks) {
    int64_t tokens = 0;
    for (const CountingSink& sink : sinks) tokens += sink.tokens;
    return tokens;
  }

  static void CheckFinished(const std::vector<CountingSink>& sinks) {
    for (const CountingSink& sink : sinks) {
      if (!sink.finished || sink.failed) Die("a request did not finish as it should");
    }
  }

  // Elements of the matrices that every decode step multiplies with.
  double NumWeights() const { return serving_.model->weight_bytes() / static_cast<double>(SizeOf(serving_.compute)); }

  static void Print(const std::string& what, double tokens, double seconds, double bytes, double operations,
                    const MachineRates& before, const MachineRates& after) {
    const double bandwidth = std::max(before.bytes_per_second, after.bytes_per_second);
    const double rate = std::max(before.operations_per_second, after.operations_per_second);
    const double floor = std::max(bytes / bandwidth, operations / rate);
    std::printf("| %-16s | %8.1f | %8.2f | %6.3f | %5.1f | %5.1f | %3.0f %% | %6.3f | %6.3f | %3.0f %% |\n",
                what.c_str(), tokens / seconds, seconds * 1e3, bytes / 1e9, bytes / seconds / 1e9, bandwidth / 1e9,
                100 * bytes / bandwidth / seconds, operations / seconds / 1e12, rate / 1e12, 100 * floor / seconds);
    std::fflush(stdout);
  }

  const std::string name_;
  const ModelConfig config_;
  MachineProbe probe_;
  ServingModel serving_;
  std::unique_ptr<RouterCache> routers_;
  std::unique_ptr<Engine> engine_;
};

int Main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const int threads = absl::GetFlag(FLAGS_threads);
  std::printf("kernels %s, %d threads, weights and cache bfloat16\n", kernels::cpu::Name(kernels::cpu::BestGemmLevel()),
              threads);
  kernels::cpu::ThreadPool pool(threads);
  PinThreads(pool);
  const std::pair<const char*, ModelConfig> models[] = {{"Llama-3.2-1B shape", Llama1B()}, {"42M shape", Small42M()}};
  for (const auto& [name, config] : models) {
    if (std::string(name).find(absl::GetFlag(FLAGS_only)) == std::string::npos) continue;
    EngineBench bench(name, config, &pool);
    for (absl::string_view batch : absl::StrSplit(absl::GetFlag(FLAGS_batches), ',', absl::SkipEmpty())) {
      bench.Decode(std::max(1, std::atoi(std::string(batch).c_str())));
    }
    if (absl::GetFlag(FLAGS_prefill) > 0) bench.Prefill();
  }
  return 0;
}

}  // namespace
}  // namespace ration::bench

int main(int argc, char** argv) { return ration::bench::Main(argc, argv); }
