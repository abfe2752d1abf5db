#include "engine/engine_factory.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/model/model_factory.h"
#include "engine/weights/checkpoint.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/dtype.h"

namespace ration {
namespace {

// Members are destroyed in reverse order: the model goes before the threads that run it.
struct Resources {
  explicit Resources(int threads) : pool(threads) {}
  kernels::cpu::ThreadPool pool;
  std::unique_ptr<Checkpoint> checkpoint;
  std::shared_ptr<const Tokenizer> tokenizer;
  ServingModel serving;
};

absl::StatusOr<ModelOptions> ToModelOptions(const EngineFactoryOptions& options, const ModelConfig& config) {
  ModelOptions model;
  if (options.compute == ComputeType::kFloat32) model.compute = kernels::DType::kF32;
  if (options.compute == ComputeType::kBFloat16) model.compute = kernels::DType::kBF16;
  model.decode_rule = options.decode_rule;
  model.page_bytes = options.page_bytes;
  model.kv_budget_bytes = options.kv_budget_bytes;
  if (!options.ratio.empty()) {
    const absl::StatusOr<Ratio> ratio = Ratio::Parse(options.ratio, config.experts().num_experts());
    if (!ratio.ok()) return absl::InvalidArgumentError(absl::StrCat("ratio: ", ratio.status().message()));
    model.ratio = *ratio;
  }
  return model;
}

EngineFacts CollectFacts(const ServingModel& serving) {
  EngineFacts facts;
  facts.config = serving.config;
  facts.compute_dtype = kernels::Name(serving.compute);
  facts.ratio = serving.router->ratio();
  facts.kv_fraction = facts.ratio.KvFraction(serving.spec->experts());
  facts.calibrated = serving.calibrated;
  facts.page_bytes = serving.spec->page_bytes();
  facts.kv_budget_bytes = serving.num_pages * facts.page_bytes;
  for (int e = 0; e < serving.spec->num_experts(); ++e) facts.bytes_per_token.push_back(serving.spec->bytes_per_token(e));
  facts.weight_bytes = serving.model->weight_bytes();
  return facts;
}

}  // namespace

absl::StatusOr<LoadedEngine> LoadEngine(const EngineFactoryOptions& options, const Clock* clock) {
  if (options.threads < 1) return absl::InvalidArgumentError(absl::StrCat("threads: must be >= 1, not ", options.threads));
  auto resources = std::make_shared<Resources>(options.threads);
  RATION_ASSIGN_OR_RETURN(resources->checkpoint, Checkpoint::Open(options.directory));
  const ModelConfig& config = resources->checkpoint->config();
  RATION_ASSIGN_OR_RETURN(const ModelOptions model_options, ToModelOptions(options, config));

  LoadedEngine loaded;
  if (absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadTokenizer(options.directory); tokenizer.ok()) {
    resources->tokenizer = *std::move(tokenizer);
  } else {
    loaded.tokenizer_status = tokenizer.status();
  }
  loaded.tokenizer = resources->tokenizer;
  RATION_ASSIGN_OR_RETURN(resources->serving,
                          BuildServingModel(*resources->checkpoint, config, model_options, &resources->pool));
  const ServingModel& serving = resources->serving;
  loaded.facts = CollectFacts(serving);
  loaded.info = serving.model->info();

  Engine::Options engine_options = options.engine;
  engine_options.num_pages = serving.num_pages;
  engine_options.eos_token_ids = config.eos_token_ids;
  RATION_ASSIGN_OR_RETURN(loaded.engine, Engine::Create(engine_options, *serving.spec, serving.model.get(),
                                                        serving.router.get(), loaded.tokenizer.get(), clock));
  loaded.resources = std::move(resources);
  return loaded;
}

}  // namespace ration
