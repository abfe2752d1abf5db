// See the header.
#include "tests/bench/random_weights.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include <ATen/ATen.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kernels/dtype.h"

namespace ration::bench {

RandomWeights::RandomWeights(uint32_t seed) : values_(1000003) {  // prime, so that rows differ
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  for (uint16_t& value : values_) value = kernels::ToBF16(normal(rng));
}

bool RandomWeights::Has(absl::string_view name) const {
  return !absl::StrContains(name, "router") && !absl::StrContains(name, "lm_head") && !absl::EndsWith(name, ".bias");
}

absl::StatusOr<at::Tensor> RandomWeights::Tensor(absl::string_view name, absl::Span<const int64_t> shape) const {
  if (!Has(name)) return absl::NotFoundError(absl::StrCat("random weights have no tensor ", name));
  const at::Tensor tensor = at::empty(at::IntArrayRef(shape.data(), shape.size()), at::TensorOptions(at::kBFloat16));
  if (absl::StrContains(name, "norm")) return tensor.fill_(1);
  uint16_t* out = static_cast<uint16_t*>(tensor.data_ptr());
  for (int64_t done = 0; done < tensor.numel();) {
    const int64_t count = std::min<int64_t>(tensor.numel() - done, static_cast<int64_t>(values_.size()));
    std::memcpy(out + done, values_.data(), count * sizeof(uint16_t));
    done += count;
  }
  return tensor;
}

}  // namespace ration::bench
