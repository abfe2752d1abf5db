// From a model directory to a running engine's parts: checkpoint, tokenizer, model, compute threads, KV cache, decode router,
// Engine. The one place that puts them together for whoever serves; the kernels' types do not show through.
// Layer: engine, at its top. Call it from one thread; it may take a while.
#ifndef RATION_ENGINE_ENGINE_FACTORY_H_
#define RATION_ENGINE_ENGINE_FACTORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/clock.h"
#include "engine/engine.h"
#include "engine/engine_factory_options.h"
#include "engine/model/model_config.h"
#include "engine/model/model_info.h"
#include "engine/router/expert_spec.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {

// How long a sequence fits into the budget alone.
struct KvCapacity {
  Ratio ratio;
  double kv_fraction = 1;  // of the ratio
  int64_t tokens = 0;      // not limited by the model's context
};

// What was loaded, in numbers.
struct EngineFacts {
  ModelConfig config;
  std::string compute_dtype;             // "float32" or "bfloat16"
  BudgetPolicy budget_policy = BudgetPolicy::kGovernor;
  Policy policy;                         // in force at the start
  Ratio ratio;                           // in force at the start
  double kv_fraction = 1;                // of full KV, at `ratio`
  bool calibrated = false;               // the decode router has score samples in every layer
  int64_t page_bytes = 0;
  int64_t kv_budget_bytes = 0;
  std::vector<int64_t> bytes_per_token;  // of each expert, in all layers
  int64_t weight_bytes = 0;              // that a decode step reads
  std::vector<KvCapacity> capacities;    // at full KV, at half and at the lowest, as far as the experts reach
};

// Members are destroyed in reverse order: the engine goes before what it points to.
struct LoadedEngine {
  std::shared_ptr<void> resources;  // what the engine needs and nobody else touches
  EngineFacts facts;
  ModelInfo info;
  std::shared_ptr<const Tokenizer> tokenizer;  // nullptr if it could not be loaded; the engine then deals in ids only
  absl::Status tokenizer_status;               // then: why
  std::unique_ptr<Engine> engine;
};

// Errors name the file, tensor, key or option that is wrong. A tokenizer that is missing or of an unsupported kind is not
// one of them; a broken one is.
absl::StatusOr<LoadedEngine> LoadEngine(const EngineFactoryOptions& options, const Clock* clock);

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_FACTORY_H_
