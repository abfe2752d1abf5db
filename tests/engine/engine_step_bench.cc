// What a step costs besides the model and the sampler: the engine on a fake model, every sequence decoding. Run with
//   bazel run -c opt //tests/engine:engine_step_bench
// The second figure is the same work without an engine around it (Forward and greedy sampling alone); the difference is
// ours.
#include <benchmark/benchmark.h>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/sampling/sampler.h"
#include "tests/engine/engine_harness.h"

namespace ration {
namespace {

using testing::EngineHarness;
using testing::HarnessOptions;

constexpr int64_t kVocab = 64;

// Counts and forgets.
class NullSink final : public OutputSink {
 public:
  bool OnDelta(GenerationDelta delta) override {
    benchmark::DoNotOptimize(delta.token_ids.data());
    return true;
  }
};

HarnessOptions Options() {
  HarnessOptions options;
  options.model.num_layers = 1;
  options.model.vocab_size = kVocab;
  options.model.max_positions = 1 << 30;
  options.engine.num_pages = 40000000;
  return options;
}

void BM_EngineStep(benchmark::State& state) {
  EngineHarness harness(Options());
  NullSink sink;
  for (int64_t i = 0; i < state.range(0); ++i) {
    RATION_CHECK(harness.engine().Submit(harness.Request(absl::StrCat("r", i), 8, 2000000), &sink).ok());
  }
  harness.engine().Step();
  for (auto unused : state) benchmark::DoNotOptimize(harness.engine().Step());
  RATION_CHECK(harness.engine().stats().requests_running == state.range(0));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_EngineStep)->Arg(1)->Arg(8)->Arg(32)->Arg(128)->Unit(benchmark::kMicrosecond);

void BM_ModelAndSamplerAlone(benchmark::State& state) {
  EngineHarness harness(Options());
  KvCacheManager cache(harness.spec(), 40000000);
  struct One {
    std::unique_ptr<SequenceKv> kv;
    SequenceRouting routing{1};
    Sampler sampler;
    int32_t token = 1;
    int64_t position = 0;
  };
  SamplingParams greedy;
  greedy.temperature = 0;
  std::vector<std::unique_ptr<One>> sequences;
  for (int64_t i = 0; i < state.range(0); ++i) {
    sequences.push_back(
        std::unique_ptr<One>(new One{cache.NewSequence(), SequenceRouting(1), Sampler(greedy, {}, 1, kVocab)}));
  }
  ForwardBatch batch;
  for (auto unused : state) {
    batch.sequences.clear();
    for (const auto& one : sequences) {
      batch.sequences.push_back({one->kv.get(), &one->routing, &harness.router(), absl::MakeConstSpan(&one->token, 1),
                                 one->position, one->position == 0 ? Phase::kPrefill : Phase::kDecode, 1, nullptr});
    }
    const at::Tensor logits = *harness.model().Forward(batch, cache);
    const float* row = logits.data_ptr<float>();
    for (const auto& one : sequences) {
      one->token = one->sampler.Sample(absl::MakeConstSpan(row, kVocab), one->position++, {}, 0, nullptr);
      row += kVocab;
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_ModelAndSamplerAlone)->Arg(1)->Arg(8)->Arg(32)->Arg(128)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace ration

BENCHMARK_MAIN();
