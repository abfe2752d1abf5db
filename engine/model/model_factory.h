// From a checkpoint to everything the engine runs it with: the model, the KV cache's geometry and the decode router.
// Layer: engine/model. Thread-compatible.
#ifndef RATION_ENGINE_MODEL_MODEL_FACTORY_H_
#define RATION_ENGINE_MODEL_MODEL_FACTORY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/model/decoder_model.h"
#include "engine/model/model_config.h"
#include "engine/ops/paged_kv_store.h"
#include "engine/router/decode_router.h"
#include "engine/weights/tensor_source.h"
#include "kernels/cpu/thread_pool.h"

namespace ration {

struct ModelOptions {
  std::optional<kernels::DType> compute;  // absent: bfloat16 for 16-bit checkpoints, float32 otherwise
  std::optional<Ratio> ratio;             // absent: the checkpoint's default, or everything to the only expert
  DecodeRule decode_rule = DecodeRule::kThreshold;
  int64_t page_bytes = 0;                 // 0: KvCacheSpec chooses
  int64_t kv_budget_bytes = 0;            // >= one page; rounded down to whole pages
};

// A model ready to serve. Members are destroyed in reverse order: the model goes before what it uses.
struct ServingModel {
  ModelConfig config;
  kernels::DType compute = kernels::DType::kF32;
  std::unique_ptr<KvCacheSpec> spec;
  int64_t num_pages = 0;
  std::unique_ptr<PagedKvStore> store;
  std::unique_ptr<const DecodeRouter> router;  // at the options' ratio
  // Per layer, router scores of held-out tokens, [num_samples, num_experts]; empty without. What routers of any ratio are made from.
  std::vector<std::vector<float>> calibration;
  bool calibrated = false;  // every layer has score samples
  std::unique_ptr<DecoderModel> model;
};

// InvalidArgument if an option does not fit the model (the ratio's length, a budget below one page); otherwise what
// DecoderModel::Create says. `pool` must outlive the result.
absl::StatusOr<ServingModel> BuildServingModel(const TensorSource& source, const ModelConfig& config, const ModelOptions& options,
                                               kernels::cpu::ThreadPool* pool);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MODEL_FACTORY_H_
