#include "tools/train/flat_parameters.h"

#include <utility>

#include "engine/base/check.h"

namespace ration {

FlatParameters::FlatParameters(std::vector<at::Tensor> tensors) : tensors_(std::move(tensors)) {
  RATION_CHECK(!tensors_.empty());
  std::vector<at::Tensor> flat;
  int64_t size = 0;
  for (const at::Tensor& tensor : tensors_) {
    RATION_CHECK(tensor.scalar_type() == at::kFloat);
    flat.push_back(tensor.detach().flatten());
    begins_.push_back(size);
    size += tensor.numel();
  }
  values_ = at::cat(flat);
  gradients_ = at::zeros_like(values_);
  for (size_t i = 0; i < tensors_.size(); ++i) {
    tensors_[i].set_data(Part(values_, i));
    tensors_[i].set_requires_grad(true);
    tensors_[i].mutable_grad() = Part(gradients_, i);
  }
}

at::Tensor FlatParameters::Part(const at::Tensor& vector, size_t i) const {
  return vector.narrow(0, begins_[i], tensors_[i].numel()).view(tensors_[i].sizes());
}

at::Tensor FlatParameters::Spread(const std::vector<double>& value_of_tensor) const {
  RATION_CHECK(value_of_tensor.size() == tensors_.size());
  at::Tensor spread = at::empty_like(values_);
  for (size_t i = 0; i < tensors_.size(); ++i) Part(spread, i).fill_(value_of_tensor[i]);
  return spread;
}

}  // namespace ration
