// A checkpoint that exists only in memory: any tensor a model asks for, filled with small random numbers when it is
// asked for, so that a model of any shape can be timed without a file. Norm weights are ones.
// Not a test; used by the programs of tests/bench. Thread-compatible.
#ifndef RATION_TESTS_BENCH_RANDOM_WEIGHTS_H_
#define RATION_TESTS_BENCH_RANDOM_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/weights/tensor_source.h"

namespace ration::bench {

class RandomWeights : public TensorSource {
 public:
  // Has no biases, routers or output matrix (the embedding is tied). Tensors are bfloat16.
  explicit RandomWeights(uint32_t seed);

  bool Has(absl::string_view name) const override;
  absl::StatusOr<at::Tensor> Tensor(absl::string_view name, absl::Span<const int64_t> shape) const override;

 private:
  std::vector<uint16_t> values_;  // bfloat16, repeated to fill a tensor
};

}  // namespace ration::bench

#endif  // RATION_TESTS_BENCH_RANDOM_WEIGHTS_H_
