// See the header. Checks tensors, packs them panel by panel on the pool's threads and hands rows to kernels::cpu::Gemm.
#include "engine/ops/linear.h"

#include <cstring>
#include <utility>

#include <ATen/ATen.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/ops/weight_memory.h"
#include "kernels/gemm.h"

namespace ration {
namespace {

using kernels::kPanelColumns;

// One stacked weight: rows of `in` elements.
struct Source {
  at::Tensor tensor;  // contiguous
  kernels::SourceType type;
  int64_t row_bytes;
};

absl::StatusOr<Source> MakeSource(const at::Tensor& weight, size_t index, int64_t in) {
  if (!weight.defined() || weight.dim() != 2) {
    return absl::InvalidArgumentError(absl::StrCat("weight ", index, " of a linear layer must have 2 dimensions, has ",
                                                   weight.defined() ? weight.dim() : 0));
  }
  if (weight.size(0) < 1 || weight.size(1) < 1 || weight.size(1) != in) {
    return absl::InvalidArgumentError(absl::StrCat("weight ", index, " of a linear layer has shape [", weight.size(0),
                                                   ", ", weight.size(1), "], wanted [>= 1, ", in, "]"));
  }
  Source source;
  source.tensor = weight.contiguous();
  source.row_bytes = in * static_cast<int64_t>(weight.element_size());
  switch (weight.scalar_type()) {
    case at::kFloat:
      source.type = kernels::SourceType::kF32;
      return source;
    case at::kHalf:
      source.type = kernels::SourceType::kF16;
      return source;
    case at::kBFloat16:
      source.type = kernels::SourceType::kBF16;
      return source;
    default:
      return absl::InvalidArgumentError(absl::StrCat("weight ", index, " of a linear layer has dtype ",
                                                     at::toString(weight.scalar_type()),
                                                     ", wanted float32, float16 or bfloat16"));
  }
}

// The stacked biases, empty if there are none.
absl::StatusOr<std::vector<float>> StackBiases(const std::vector<at::Tensor>& biases,
                                               const std::vector<Source>& sources) {
  std::vector<float> stacked;
  if (biases.empty()) return stacked;
  if (biases.size() != sources.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a linear layer of ", sources.size(), " weights has ", biases.size(), " biases"));
  }
  bool any = false;
  for (size_t i = 0; i < biases.size(); ++i) {
    const int64_t out = sources[i].tensor.size(0);
    if (!biases[i].defined()) {
      stacked.resize(stacked.size() + out, 0.0f);
      continue;
    }
    if (biases[i].dim() != 1 || biases[i].size(0) != out) {
      return absl::InvalidArgumentError(absl::StrCat("bias ", i, " of a linear layer has ", biases[i].numel(),
                                                     " elements in ", biases[i].dim(), " dimensions, wanted [", out,
                                                     "]"));
    }
    const at::Tensor values = biases[i].to(at::kFloat).contiguous();
    stacked.insert(stacked.end(), values.data_ptr<float>(), values.data_ptr<float>() + out);
    any = true;
  }
  if (!any) stacked.clear();
  return stacked;
}

class PackedLinear : public Linear {
 public:
  PackedLinear(WeightMemory memory, kernels::PackedWeights weights, std::vector<float> bias,
               kernels::cpu::CpuLevel level, kernels::cpu::ThreadPool* pool)
      : memory_(std::move(memory)), weights_(weights), bias_(std::move(bias)), level_(level), pool_(pool) {}

  int64_t in_features() const override { return weights_.in; }
  int64_t out_features() const override { return weights_.out; }
  kernels::DType compute() const override { return weights_.dtype; }
  int64_t weight_bytes() const override { return weights_.num_bytes(); }

  void Forward(const void* x, int64_t rows, float* y) const override {
    kernels::GemmParams params;
    params.weights = weights_;
    params.bias = bias_.empty() ? nullptr : bias_.data();
    params.x = x;
    params.rows = rows;
    params.y = y;
    kernels::cpu::Gemm(params, level_, *pool_);
  }

 private:
  const WeightMemory memory_;
  const kernels::PackedWeights weights_;  // in memory_
  const std::vector<float> bias_;         // [out] or empty
  const kernels::cpu::CpuLevel level_;
  kernels::cpu::ThreadPool* const pool_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Linear>> Linear::Create(const Options& options) {
  RATION_CHECK(options.pool != nullptr);
  if (options.weights.empty()) return absl::InvalidArgumentError("a linear layer needs at least one weight");
  const kernels::cpu::CpuLevel level = options.level.value_or(kernels::cpu::BestGemmLevel());
  if (!kernels::cpu::GemmLevelSupported(level)) {
    return absl::InvalidArgumentError(absl::StrCat("this machine cannot run the ", kernels::cpu::Name(level),
                                                   " kernels, at best the ",
                                                   kernels::cpu::Name(kernels::cpu::BestGemmLevel()), " ones"));
  }

  kernels::PackedWeights weights;
  weights.dtype = options.compute;
  weights.in = options.weights[0].defined() && options.weights[0].dim() == 2 ? options.weights[0].size(1) : 0;
  std::vector<Source> sources;
  for (size_t i = 0; i < options.weights.size(); ++i) {
    RATION_ASSIGN_OR_RETURN(Source source, MakeSource(options.weights[i], i, weights.in));
    weights.out += source.tensor.size(0);
    sources.push_back(std::move(source));
  }
  weights.in_padded = kernels::PaddedIn(weights.in, weights.dtype);
  RATION_ASSIGN_OR_RETURN(std::vector<float> bias, StackBiases(options.biases, sources));
  RATION_ASSIGN_OR_RETURN(WeightMemory memory, WeightMemory::Allocate(weights.num_bytes()));
  weights.data = memory.data();

  options.pool->ParallelFor(weights.num_panels(), [&](int64_t panel, int) {
    kernels::cpu::PanelSource columns = {};
    size_t source = 0;
    int64_t first = 0;  // of `source` in the stacked outputs
    for (int64_t c = 0; c < kPanelColumns; ++c) {
      const int64_t column = panel * kPanelColumns + c;
      while (source < sources.size() && column >= first + sources[source].tensor.size(0)) {
        first += sources[source++].tensor.size(0);
      }
      if (source == sources.size()) break;
      columns.columns[c] =
          static_cast<const uint8_t*>(sources[source].tensor.data_ptr()) + (column - first) * sources[source].row_bytes;
      columns.types[c] = sources[source].type;
    }
    kernels::cpu::PackPanel(columns, weights.in, weights.dtype, memory.data() + panel * weights.panel_bytes());
  });
  return std::make_unique<PackedLinear>(std::move(memory), weights, std::move(bias), level, options.pool);
}

}  // namespace ration
