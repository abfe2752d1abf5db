// A decoder-only transformer over the mixed-group KV cache, of any family that a DecoderSpec describes, with mixSGA routers where the
// checkpoint has them.
// Layer: engine/model. Used by the engine thread only.
#ifndef RATION_ENGINE_MODEL_DECODER_MODEL_H_
#define RATION_ENGINE_MODEL_DECODER_MODEL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/status/statusor.h"
#include "engine/kv_cache/kv_storage.h"
#include "engine/model/attention_layer.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/mlp_layer.h"
#include "engine/model/model.h"
#include "engine/model/model_config.h"
#include "engine/model/norm.h"
#include "engine/model/rope_table.h"
#include "engine/model/step_context.h"
#include "engine/weights/tensor_source.h"

namespace ration {

class DecoderModel final : public Model {
 public:
  struct Options {
    kernels::DType compute = kernels::DType::kF32;  // of matrix inputs and of the KV cache
    kernels::cpu::ThreadPool* pool = nullptr;       // must outlive the model
  };
  // Packs the weights; `source` may go afterwards except for its embedding, which the model keeps a reference to. NotFound and
  // InvalidArgument name the tensor.
  static absl::StatusOr<std::unique_ptr<DecoderModel>> Create(const TensorSource& source, const ModelConfig& config,
                                                            const Options& options);

  // The bytes that Forward's KvCacheManager hands out pages of. Must be set before Forward; must outlive the model.
  void set_storage(KvStorage* storage) { storage_ = storage; }

  const ModelInfo& info() const override { return info_; }
  absl::StatusOr<at::Tensor> Forward(const ForwardBatch& batch, KvCacheManager& cache) override;
  void DrainScoreHistogram(ScoreHistogram& histogram) override;

  const ModelConfig& config() const { return config_; }
  // Bytes of weights that a decode step of few rows must read (the embedding's single rows not counted).
  int64_t weight_bytes() const;

 private:
  DecoderModel(const ModelConfig& config, const DecoderSpec& spec, const Options& options);
  void BeginStep(const ForwardBatch& batch, KvCacheManager& cache);
  // The embedding's rows of the batch's tokens, into `rows` [num_tokens, embedding_size].
  void LookUp(const ForwardBatch& batch, float* rows) const;
  // What the first layer reads, into step_.residual.
  void Embed(const ForwardBatch& batch);

  const ModelConfig config_;
  const DecoderSpec spec_;
  ModelInfo info_;
  RopeTable rope_;  // empty without RoPE
  StepContext step_;
  KvStorage* storage_ = nullptr;

  at::Tensor embedding_;  // [V, embedding_size] as stored
  at::Tensor positions_;  // [max_positions + offset, D] float32, or undefined
  // In float32 whatever the rest computes in: they are small, and every other row depends on them.
  std::unique_ptr<Linear> project_in_;   // [D, embedding_size], or nullptr
  std::unique_ptr<Linear> project_out_;  // [embedding_size, D], or nullptr
  MatrixInput projected_;                // [rows, embedding_size]
  Norm norm_;
  std::vector<std::unique_ptr<AttentionLayer>> attention_;
  std::vector<std::unique_ptr<MlpLayer>> mlp_;
  std::unique_ptr<Linear> output_;  // [V, embedding_size]
  at::Tensor logits_;               // [rows, V], grows
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_DECODER_MODEL_H_
