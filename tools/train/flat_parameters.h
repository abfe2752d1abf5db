// Lays trainable tensors out as one vector, and their gradients as another, so that an optimiser's step is a few
// operations on vectors instead of a few on each tensor. The tensors stay what they were to everyone who holds them:
// views of the vector. Layer: tools/train. Thread-compatible.
//
// Invariant: each tensor's data and gradient are views of values() and gradients(), whatever backward passes add.
#ifndef RATION_TOOLS_TRAIN_FLAT_PARAMETERS_H_
#define RATION_TOOLS_TRAIN_FLAT_PARAMETERS_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace ration {

class FlatParameters {
 public:
  // Takes the data of `tensors` over and marks them as requiring gradients. REQUIRES: at least one; float32, distinct,
  // on one device, leaves of autograd.
  explicit FlatParameters(std::vector<at::Tensor> tensors);

  const at::Tensor& values() const { return values_; }        // [N], N elements in all
  const at::Tensor& gradients() const { return gradients_; }  // [N]
  // The part of a vector [N] that belongs to the i-th tensor, in its shape; a view.
  at::Tensor Part(const at::Tensor& vector, size_t i) const;
  // A vector [N] with one value for each tensor's elements.
  at::Tensor Spread(const std::vector<double>& value_of_tensor) const;

 private:
  std::vector<at::Tensor> tensors_;
  std::vector<int64_t> begins_;
  at::Tensor values_, gradients_;
};

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_FLAT_PARAMETERS_H_
