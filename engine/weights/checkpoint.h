// A Hugging Face model directory: config.json, generation_config.json, model.safetensors or the shards that
// model.safetensors.index.json names. Hands out tensors by name with their shape checked.
// Layer: engine/weights. Immutable after Open; thread-safe. Tensors view the mapped files and keep them alive.
#ifndef RATION_ENGINE_WEIGHTS_CHECKPOINT_H_
#define RATION_ENGINE_WEIGHTS_CHECKPOINT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/model_config.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/tensor_source.h"

namespace ration {

class Checkpoint final : public TensorSource {
 public:
  // NotFound names the missing file; InvalidArgument names file, key or tensor and what is wrong.
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& directory);

  const ModelConfig& config() const { return config_; }
  const std::string& directory() const { return directory_; }

  bool Has(absl::string_view name) const override;
  // The tensor as stored (kFloat, kHalf or kBFloat16), not copied when the file aligns it. NotFound if absent,
  // InvalidArgument if its shape is not `shape`; both name the tensor, the directory and the shapes.
  absl::StatusOr<at::Tensor> Tensor(absl::string_view name, absl::Span<const int64_t> shape) const override;
  void ReleasePages() const override {
    for (const std::shared_ptr<SafetensorsFile>& file : files_) file->ReleasePages();
  }
  // Names of all tensors, ascending.
  std::vector<std::string> Names() const;
  // Sum of all tensors' bytes as stored.
  int64_t num_bytes() const;

 private:
  Checkpoint() = default;

  std::string directory_;
  ModelConfig config_;
  std::vector<std::shared_ptr<SafetensorsFile>> files_;
  absl::flat_hash_map<std::string, std::shared_ptr<SafetensorsFile>> file_of_;
};

}  // namespace ration

#endif  // RATION_ENGINE_WEIGHTS_CHECKPOINT_H_
