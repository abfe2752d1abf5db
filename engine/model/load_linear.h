// Reads the weights (and biases) of one or more projections and stacks them into one Linear.
// Layer: engine/model. Thread-compatible.
#ifndef RATION_ENGINE_MODEL_LOAD_LINEAR_H_
#define RATION_ENGINE_MODEL_LOAD_LINEAR_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/ops/linear.h"
#include "engine/weights/tensor_source.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/dtype.h"

namespace ration {

struct Projection {
  std::string name;          // behind the prefix, e.g. "self_attn.q_proj"
  int64_t out_features = 0;
};

// Tensors PREFIX + name + ".weight" [out_features, in_features], and ".bias" [out_features] if `bias`.
absl::StatusOr<std::unique_ptr<Linear>> LoadLinear(const TensorSource& source, absl::string_view prefix,
                                                   const std::vector<Projection>& projections, int64_t in_features, bool bias,
                                                   kernels::DType compute, kernels::cpu::ThreadPool* pool);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_LOAD_LINEAR_H_
