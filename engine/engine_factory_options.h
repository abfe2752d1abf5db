// What LoadEngine (engine_factory.h) is told: which model, with how much memory, on how many threads.
// Layer: engine. Plain data, apart from the factory so that whoever reads options need not link the engine.
#ifndef RATION_ENGINE_ENGINE_FACTORY_OPTIONS_H_
#define RATION_ENGINE_ENGINE_FACTORY_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/model/untrained_routing.h"
#include "engine/router/decode_router.h"

namespace ration {

enum class ComputeType { kAuto, kFloat32, kBFloat16 };  // kAuto: what the checkpoint suggests

struct EngineFactoryOptions {
  std::string directory;
  ComputeType compute = ComputeType::kAuto;
  // e.g. "3:1:6": a fixed ratio. Empty: the governor's; under BudgetPolicy::kStatic the checkpoint's default, under kPreempt full KV.
  std::string ratio;
  std::vector<std::string> ladder;  // ratios; empty: the checkpoint's
  UntrainedRouting untrained_routing;  // of a plain checkpoint; refused for one with routers unless kNone
  DecodeRule decode_rule = DecodeRule::kThreshold;
  int64_t page_bytes = 0;          // 0: chosen from the model
  int64_t kv_budget_bytes = 0;     // >= one page; rounded down to whole pages
  int threads = 1;                 // >= 1; the engine thread is one of them
  Engine::Options engine;          // num_pages, eos_token_ids, ratio and policy.ladder are filled in
};

}  // namespace ration

#endif  // RATION_ENGINE_ENGINE_FACTORY_OPTIONS_H_
