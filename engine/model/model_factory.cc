#include "engine/model/model_factory.h"

#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "engine/base/byte_size.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

// Score samples of one layer, [num_samples * E]; empty if the checkpoint has none.
absl::StatusOr<std::vector<float>> ReadCalibration(const TensorSource& source, const LayerSpec& layer, int64_t num_experts) {
  const std::string name = layer.prefix + "self_attn.router.calibration";
  if (num_experts == 1 || !source.Has(name)) return std::vector<float>();
  absl::StatusOr<at::Tensor> stored = source.Tensor(name, {-1, num_experts});
  RATION_RETURN_IF_ERROR(stored.status());
  const at::Tensor scores = stored->to(at::kFloat).contiguous();
  return std::vector<float>(scores.data_ptr<float>(), scores.data_ptr<float>() + scores.numel());
}

kernels::DType DefaultCompute(const ModelConfig& config) {
  return config.torch_dtype == "bfloat16" || config.torch_dtype == "float16" ? kernels::DType::kBF16 : kernels::DType::kF32;
}

}  // namespace

absl::StatusOr<ServingModel> BuildServingModel(const TensorSource& source, const ModelConfig& config, const ModelOptions& options,
                                               kernels::cpu::ThreadPool* pool) {
  ServingModel serving;
  serving.config = config;
  serving.compute = options.compute.value_or(DefaultCompute(config));
  const int num_experts = config.experts().num_experts();

  Ratio ratio = options.ratio ? *options.ratio : config.mixsga ? config.mixsga->default_ratio : Ratio();
  if (ratio.num_experts() != num_experts) {
    return absl::InvalidArgumentError(absl::StrCat("ratio ", ratio.ToString(), " has ", ratio.num_experts(),
                                                   " weights, but the model has ", num_experts, " experts"));
  }

  KvCacheSpec::Options spec_options;
  spec_options.num_layers = config.num_layers;
  spec_options.num_kv_heads = config.num_kv_heads;
  spec_options.head_dim = config.head_dim;
  spec_options.dtype = serving.compute;
  spec_options.experts = config.experts();
  spec_options.windows = config.windows;
  spec_options.page_bytes = options.page_bytes;
  RATION_ASSIGN_OR_RETURN(KvCacheSpec spec, KvCacheSpec::Create(spec_options));
  serving.spec = std::make_unique<KvCacheSpec>(spec);
  serving.num_pages = options.kv_budget_bytes / spec.page_bytes();
  if (serving.num_pages < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a KV budget of ", FormatByteSize(options.kv_budget_bytes),
                                                   " is less than one page of ", FormatByteSize(spec.page_bytes())));
  }
  RATION_ASSIGN_OR_RETURN(serving.store, PagedKvStore::Create(spec.layout(), serving.num_pages, pool));

  DecodeRouter::Options router_options;
  router_options.num_layers = static_cast<int>(config.num_layers);
  router_options.ratio = ratio;
  router_options.rule = options.decode_rule;
  serving.calibrated = true;
  for (const LayerSpec& layer : DescribeDecoder(config, source).layers) {
    RATION_ASSIGN_OR_RETURN(std::vector<float> scores, ReadCalibration(source, layer, num_experts));
    if (scores.empty() && num_experts > 1) serving.calibrated = false;
    serving.calibration.push_back(std::move(scores));
  }
  router_options.calibration = serving.calibration;
  RATION_ASSIGN_OR_RETURN(serving.router, DecodeRouter::Create(router_options));

  RATION_ASSIGN_OR_RETURN(serving.model, DecoderModel::Create(source, config, {serving.compute, pool}));
  serving.model->set_storage(serving.store->storage());
  return serving;
}

}  // namespace ration
