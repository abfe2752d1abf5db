// A dense layer that owns its weights in the form the processor reads fastest: y = x W^T + b.
// Weights are packed once when the model is loaded, straight from the checkpoint's mapped tensors, into the panels of
// kernels/gemm.h, which the step's threads take in pieces from a counter. A row's result does not depend on how many
// other rows the call has, nor on the number of threads, so a request's tokens are the same alone and in any batch.
// Layer: engine/ops. Immutable after Create; Forward is called by the engine thread only.
#ifndef RATION_ENGINE_OPS_LINEAR_H_
#define RATION_ENGINE_OPS_LINEAR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/dtype.h"
#include "kernels/gemm.h"

namespace ration {

class Linear {
 public:
  struct Options {
    // One or more weights [out_i, in] stacked along the output (query, key and value, say), in any stored dtype.
    std::vector<at::Tensor> weights;
    // One bias [out_i] a weight, or empty; a single undefined tensor stands for zeros.
    std::vector<at::Tensor> biases;
    // kF32: float32 inputs and products. kBF16: bfloat16 inputs and weights, float32 sums and outputs; where the
    // processor has no bfloat16 instructions both are widened in registers, with the same results up to rounding.
    kernels::DType compute = kernels::DType::kF32;
    kernels::cpu::ThreadPool* pool = nullptr;  // must outlive the Linear
    // The instruction set to use; by default the best this machine has. InvalidArgument if it does not have it.
    std::optional<kernels::cpu::CpuLevel> level;
  };
  static absl::StatusOr<std::unique_ptr<Linear>> Create(const Options& options);
  virtual ~Linear() = default;

  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
  virtual kernels::DType compute() const = 0;
  // Bytes of the packed weights: what one Forward of few rows must read.
  virtual int64_t weight_bytes() const = 0;

  // x: [rows, in_features] of dtype compute(), y: [rows, out_features] float32, both contiguous. REQUIRES: rows >= 0.
  virtual void Forward(const void* x, int64_t rows, float* y) const = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_OPS_LINEAR_H_
