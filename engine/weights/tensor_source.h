// Where a model takes its tensors from: a checkpoint on disk, or anything else that can name them (random weights in benchmarks).
// Layer: engine/weights. Implementations are thread-safe.
#ifndef RATION_ENGINE_WEIGHTS_TENSOR_SOURCE_H_
#define RATION_ENGINE_WEIGHTS_TENSOR_SOURCE_H_

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ration {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual bool Has(absl::string_view name) const = 0;
  // The tensor as stored (kFloat, kHalf or kBFloat16). NotFound if absent, InvalidArgument if its shape is not `shape`
  // (-1 in it matches any size); both name the tensor and where it was looked for.
  virtual absl::StatusOr<at::Tensor> Tensor(absl::string_view name, absl::Span<const int64_t> shape) const = 0;
  // What was read so far is not needed soon: mapped pages may leave this process's memory. Tensors stay valid.
  virtual void ReleasePages() const {}
};

}  // namespace ration

#endif  // RATION_ENGINE_WEIGHTS_TENSOR_SOURCE_H_
