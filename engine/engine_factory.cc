#include "engine/engine_factory.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/budget/kv_budget.h"
#include "engine/budget/ratio_ladder.h"
#include "engine/budget/router_cache.h"
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
  std::unique_ptr<RouterCache> routers;
};

// The checkpoint's, with untrained routing if that is asked for.
absl::StatusOr<ModelConfig> ConfigToServe(const EngineFactoryOptions& options, ModelConfig config) {
  if (options.untrained_routing.kind == UntrainedRouting::Kind::kNone) return config;
  if (config.mixsga.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("untrained_routing: must be none for a checkpoint with trained routers, not ",
                                                   ToString(options.untrained_routing)));
  }
  absl::StatusOr<MixsgaConfig> mixsga = UntrainedConfig(options.untrained_routing, config.num_kv_heads);
  if (!mixsga.ok()) return absl::InvalidArgumentError(absl::StrCat("untrained_routing: ", mixsga.status().message()));
  config.mixsga = *std::move(mixsga);
  config.untrained_routing = options.untrained_routing;
  return config;
}

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

// The ladder that the checkpoint carries; the default one for its experts if it has none.
absl::StatusOr<RatioLadder> LadderOf(const ModelConfig& config) {
  if (!config.mixsga || config.mixsga->ladder.empty()) return RatioLadder::Default(config.experts());
  std::vector<Ratio> knots;
  for (const auto& [fraction, ratio] : config.mixsga->ladder) knots.push_back(ratio);
  absl::StatusOr<RatioLadder> ladder = RatioLadder::Create(config.experts(), std::move(knots));
  if (!ladder.ok()) return absl::InvalidArgumentError(absl::StrCat("config.json: mixsga.ladder: ", ladder.status().message()));
  return ladder;
}

absl::StatusOr<Engine::Options> ToEngineOptions(const EngineFactoryOptions& options, const ServingModel& serving) {
  Engine::Options engine = options.engine;
  const ModelConfig& config = serving.config;
  engine.num_pages = serving.num_pages;
  engine.eos_token_ids = config.eos_token_ids;
  if (options.ladder.empty()) {
    RATION_ASSIGN_OR_RETURN(engine.policy.ladder, LadderOf(config));
  } else {
    std::vector<Ratio> knots;
    for (const std::string& text : options.ladder) {
      const absl::StatusOr<Ratio> ratio = Ratio::Parse(text, config.experts().num_experts());
      if (!ratio.ok()) return absl::InvalidArgumentError(absl::StrCat("ladder: ", ratio.status().message()));
      knots.push_back(*ratio);
    }
    absl::StatusOr<RatioLadder> ladder = RatioLadder::Create(config.experts(), std::move(knots));
    if (!ladder.ok()) return absl::InvalidArgumentError(absl::StrCat("ladder: ", ladder.status().message()));
    engine.policy.ladder = *std::move(ladder);
  }
  // Without a ratio: the governor's, the checkpoint's own for fixed reservations, full KV to compare preemption with.
  const bool untrained_static = options.untrained_routing.kind == UntrainedRouting::Kind::kStatic;
  if (!options.ratio.empty() || untrained_static || engine.budget_policy == BudgetPolicy::kStatic) engine.ratio = serving.router->ratio();
  return engine;
}

// The longest sequence whose floor, at `ratio`, the budget can hold.
int64_t TokensThatFit(const ServingModel& serving, const Ratio& ratio) {
  int64_t fits = 0, too_many = serving.num_pages * serving.spec->slots_per_page(serving.spec->num_experts() - 1) + 1;
  while (too_many - fits > 1) {
    const int64_t middle = fits + (too_many - fits) / 2;
    (FloorPages(*serving.spec, ratio, middle) <= serving.num_pages ? fits : too_many) = middle;
  }
  return fits;
}

std::vector<KvCapacity> Capacities(const ServingModel& serving, const RatioLadder& ladder) {
  std::vector<KvCapacity> capacities;
  for (double fraction : {1.0, 0.5, 0.0}) {
    const Ratio ratio = ladder.At(fraction);
    const double reached = ratio.KvFraction(serving.spec->experts());
    if (!capacities.empty() && reached >= capacities.back().kv_fraction) continue;
    capacities.push_back({ratio, reached, TokensThatFit(serving, ratio)});
  }
  return capacities;
}

EngineFacts CollectFacts(const ServingModel& serving) {
  EngineFacts facts;
  facts.config = serving.config;
  facts.compute_dtype = kernels::Name(serving.compute);
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
  RATION_ASSIGN_OR_RETURN(const ModelConfig config, ConfigToServe(options, resources->checkpoint->config()));
  RATION_ASSIGN_OR_RETURN(const ModelOptions model_options, ToModelOptions(options, config));

  LoadedEngine loaded;
  if (absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadTokenizer(options.directory); tokenizer.ok()) {
    resources->tokenizer = *std::move(tokenizer);
  } else if (absl::IsInvalidArgument(tokenizer.status())) {
    return tokenizer.status();  // a broken file is not an absent one
  } else {
    loaded.tokenizer_status = tokenizer.status();
  }
  loaded.tokenizer = resources->tokenizer;
  RATION_ASSIGN_OR_RETURN(resources->serving,
                          BuildServingModel(*resources->checkpoint, config, model_options, &resources->pool));
  const ServingModel& serving = resources->serving;
  loaded.facts = CollectFacts(serving);
  loaded.info = serving.model->info();

  RouterCache::Options routers;
  routers.num_layers = static_cast<int>(config.num_layers);
  routers.num_experts = config.experts().num_experts();
  routers.rule = options.decode_rule;
  routers.calibration = serving.calibration;
  RATION_ASSIGN_OR_RETURN(resources->routers, RouterCache::Create(routers));
  RATION_ASSIGN_OR_RETURN(const Engine::Options engine_options, ToEngineOptions(options, serving));
  RATION_ASSIGN_OR_RETURN(loaded.engine,
                          Engine::Create(engine_options, *serving.spec, serving.model.get(), resources->routers.get(),
                                         serving.store.get(), loaded.tokenizer.get(), clock));
  loaded.facts.capacities = Capacities(serving, loaded.engine->policy().ladder);
  loaded.facts.budget_policy = engine_options.budget_policy;
  loaded.facts.policy = loaded.engine->policy();
  loaded.facts.ratio = engine_options.ratio.value_or(loaded.facts.policy.ladder.At(loaded.facts.policy.ceiling));
  if (engine_options.budget_policy == BudgetPolicy::kPreempt && !engine_options.ratio.has_value()) {
    loaded.facts.ratio = Ratio::AllTo(0, routers.num_experts);
  }
  loaded.facts.kv_fraction = loaded.facts.ratio.KvFraction(serving.spec->experts());
  loaded.resources = std::move(resources);
  return loaded;
}

}  // namespace ration
