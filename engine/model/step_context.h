// What the layers of a model share while one step runs: the batch, its rows' positions, the cache and the activation buffers.
// Layer: engine/model. Used by the engine thread only; buffers keep their memory from step to step.
#ifndef RATION_ENGINE_MODEL_STEP_CONTEXT_H_
#define RATION_ENGINE_MODEL_STEP_CONTEXT_H_

#include <cstdint>
#include <vector>

#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/forward_batch.h"
#include "engine/model/model.h"
#include "kernels/attention.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/dtype.h"
#include "kernels/paged_kv_view.h"

namespace ration {

// Rows of one dtype that grow as steps need them. 64-byte aligned; contents are undefined after Resize.
template <typename T>
class RowBuffer {
 public:
  T* Resize(int64_t rows, int64_t dim) {
    const size_t needed = static_cast<size_t>(rows * dim) + kAlign;
    if (storage_.size() < needed) storage_.resize(needed);
    const uintptr_t address = reinterpret_cast<uintptr_t>(storage_.data());
    data_ = reinterpret_cast<T*>((address + 63) & ~uintptr_t{63});
    return data_;
  }
  T* data() const { return data_; }

 private:
  static constexpr size_t kAlign = 64 / sizeof(T);
  std::vector<T> storage_;
  T* data_ = nullptr;
};

// A matrix input in the compute dtype: float32 rows, or bfloat16 rows (and float32 ones where something else reads them too).
struct MatrixInput {
  RowBuffer<float> f32;
  RowBuffer<uint16_t> bf16;

  // Makes room for `rows` of `dim` in the form that `compute` needs.
  void Resize(int64_t rows, int64_t dim, kernels::DType compute, bool also_f32) {
    if (compute == kernels::DType::kF32 || also_f32) f32.Resize(rows, dim);
    if (compute == kernels::DType::kBF16) bf16.Resize(rows, dim);
  }
  const void* data(kernels::DType compute) const {
    return compute == kernels::DType::kF32 ? static_cast<const void*>(f32.data()) : static_cast<const void*>(bf16.data());
  }
};

struct StepContext {
  StepContext(kernels::cpu::ThreadPool& thread_pool, kernels::DType compute_dtype) : pool(thread_pool), compute(compute_dtype) {}

  kernels::cpu::ThreadPool& pool;
  const kernels::DType compute;

  const ForwardBatch* batch = nullptr;
  KvCacheManager* cache = nullptr;
  uint8_t* kv_pool = nullptr;
  int64_t num_tokens = 0;             // rows of the step
  std::vector<int32_t> positions;     // [num_tokens]
  std::vector<int32_t> logit_rows;    // rows whose logits are wanted, ascending
  Model::ScoreHistogram scores{};     // since the last drain

  RowBuffer<float> residual;          // [num_tokens, hidden_size]
  RowBuffer<float> delta;             // [num_tokens, hidden_size]: a block's output, not yet added to residual
  MatrixInput normed;                 // [num_tokens, hidden_size]
  RowBuffer<float> qkv;               // [num_tokens, (H_q + 2 H) * d]
  RowBuffer<float> attention;         // [num_tokens, H_q * d]
  MatrixInput attention_input;        // the same as matrix input
  RowBuffer<float> mlp;               // [num_tokens, intermediate_size], or twice that where gated
  MatrixInput activated;              // [num_tokens, intermediate_size]

  std::vector<kernels::KvSlot> slots;                 // [num_tokens]
  std::vector<std::vector<int32_t>> visible;          // per sequence
  std::vector<kernels::AttentionSequence> sequences;  // per sequence
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_STEP_CONTEXT_H_
