#include "engine/model/load_linear.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"

namespace ration {

absl::StatusOr<std::unique_ptr<Linear>> LoadLinear(const TensorSource& source, absl::string_view prefix,
                                                   const std::vector<Projection>& projections, int64_t in_features, bool bias,
                                                   kernels::DType compute, kernels::cpu::ThreadPool* pool) {
  Linear::Options options;
  options.compute = compute;
  options.pool = pool;
  for (const Projection& projection : projections) {
    RATION_ASSIGN_OR_RETURN(at::Tensor weight, source.Tensor(absl::StrCat(prefix, projection.name, ".weight"),
                                                             {projection.out_features, in_features}));
    options.weights.push_back(weight);
    if (bias) {
      RATION_ASSIGN_OR_RETURN(at::Tensor values,
                              source.Tensor(absl::StrCat(prefix, projection.name, ".bias"), {projection.out_features}));
      options.biases.push_back(values);
    }
  }
  return Linear::Create(options);
}

}  // namespace ration
