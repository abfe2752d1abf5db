// Where the oracle takes its weights from: the safetensors files of a directory, or any TensorSource, widened to
// float32. Layer: tools/train. Immutable after Open; thread-safe.
#ifndef RATION_TOOLS_TRAIN_ORACLE_TENSORS_H_
#define RATION_TOOLS_TRAIN_ORACLE_TENSORS_H_

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/tensor_source.h"
#include "tools/train/oracle_config.h"
#include "tools/train/routed_attention.h"

namespace ration {

// Every tensor of every model*.safetensors in a directory. Looks into the files themselves, whatever an index says.
class DirectoryTensors final : public TensorSource {
 public:
  // NotFound if there is no such file; else fails as SafetensorsFile::Open.
  static absl::StatusOr<std::unique_ptr<DirectoryTensors>> Open(const std::string& directory);

  bool Has(absl::string_view name) const override;
  // A copy.
  absl::StatusOr<at::Tensor> Tensor(absl::string_view name, absl::Span<const int64_t> shape) const override;

 private:
  DirectoryTensors() = default;
  const SafetensorsFile::TensorInfo* Find(absl::string_view name) const;

  std::string directory_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
};

struct LinearWeights {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out] or absent

  at::Tensor operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }
};

// Fail as TensorSource::Tensor. Float32 copies.
absl::StatusOr<at::Tensor> ReadFloat(const TensorSource& source, const std::string& name,
                                     const std::vector<int64_t>& shape);
absl::StatusOr<LinearWeights> ReadLinear(const TensorSource& source, const std::string& name, int64_t out, int64_t in,
                                         bool bias);
// Undefined tensors for a plain checkpoint.
absl::StatusOr<RouterWeights> ReadRouter(const TensorSource& source, const std::string& name,
                                         const OracleConfig& config);

}  // namespace ration

#endif  // RATION_TOOLS_TRAIN_ORACLE_TENSORS_H_
