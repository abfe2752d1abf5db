#include "tests/engine/engine_harness.h"

#include <iostream>
#include <limits>

#include "engine/base/check.h"

namespace ration::testing {
namespace {

constexpr int kHeads = 4;
constexpr int kHeadDim = 8;

template <typename T>
T Take(absl::StatusOr<T> result) {
  if (!result.ok()) std::cerr << result.status() << "\n";
  RATION_CHECK(result.ok());
  return *std::move(result);
}

}  // namespace

ExpertSpec ThreeExperts(int heads) { return Take(ExpertSpec::Create({1, 2, 4}, heads)); }

EngineHarness::EngineHarness(HarnessOptions options) : tokenizer_(std::move(options.tokenizer)) {
  if (options.model.experts == ExpertSpec()) options.model.experts = ThreeExperts(kHeads);
  if (options.engine.num_pages == 0) options.engine.num_pages = 100000;
  model_ = std::make_unique<FakeModel>(options.model);

  KvCacheSpec::Options spec;
  spec.num_layers = options.model.num_layers;
  spec.num_kv_heads = kHeads;
  spec.head_dim = kHeadDim;
  spec.experts = options.model.experts;
  spec.page_bytes = options.page_bytes;
  spec.windows = options.windows;
  spec_ = std::make_unique<KvCacheSpec>(Take(KvCacheSpec::Create(spec)));

  DecodeRouter::Options router;
  router.num_layers = static_cast<int>(options.model.num_layers);
  const int num_experts = options.model.experts.num_experts();
  router.ratio = options.ratio.empty() ? Ratio::AllTo(0, num_experts) : Take(Ratio::Parse(options.ratio, num_experts));
  router.rule = options.rule;
  router_ = Take(DecodeRouter::Create(router));
  RouterCache::Options routers;
  routers.num_layers = router.num_layers;
  routers.num_experts = num_experts;
  routers.rule = options.rule;
  routers_ = Take(RouterCache::Create(routers));
  if (!options.ratio.empty()) options.engine.ratio = router.ratio;
  engine_ = Take(Engine::Create(options.engine, *spec_, model_.get(), routers_.get(), options.store, tokenizer_.get(),
                                &clock_));
}

GenerationRequest EngineHarness::Request(const std::string& id, int64_t prompt_tokens, int64_t max_new_tokens) const {
  GenerationRequest request;
  request.request_id = id;
  uint64_t state = 17;
  for (char c : id) state = state * 131 + static_cast<unsigned char>(c);
  for (int64_t i = 0; i < prompt_tokens; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    request.prompt_tokens.push_back(
        static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(model_->info().vocab_size)));
  }
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = max_new_tokens;
  return request;
}

RecordingSink& EngineHarness::Submit(GenerationRequest request, int64_t capacity) {
  sinks_.push_back(std::make_unique<RecordingSink>(capacity));
  const absl::Status status = engine_->Submit(std::move(request), sinks_.back().get());
  if (!status.ok()) std::cerr << status << "\n";
  RATION_CHECK(status.ok());
  return *sinks_.back();
}

absl::Status EngineHarness::SubmitStatus(GenerationRequest request) {
  RecordingSink sink;
  absl::Status status = engine_->Submit(std::move(request), &sink);
  RATION_CHECK(!status.ok() && sink.num_deltas() == 0);
  return status;
}

void EngineHarness::RunUntilIdle() {
  for (int64_t step = 0; engine_->Step(); ++step) {
    RATION_CHECK(step < 1000000);
    engine_->CheckInvariants();
  }
}

std::vector<int32_t> EngineHarness::ExpectedGreedy(const GenerationRequest& request) const {
  return FakeModel::GreedyTokens(request.prompt_tokens, request.stopping.max_new_tokens, model_->info().vocab_size);
}

}  // namespace ration::testing
