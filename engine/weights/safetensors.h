// One safetensors file, memory-mapped read-only. Every length and offset is checked when it is opened, so that a truncated or
// hostile file is a clear error and never a fault.
// Format: https://github.com/huggingface/safetensors (8-byte little-endian header length, JSON header, data).
// Layer: engine/weights. Immutable after Open; thread-safe. Tensor data lives as long as the SafetensorsFile.
#ifndef RATION_ENGINE_WEIGHTS_SAFETENSORS_H_
#define RATION_ENGINE_WEIGHTS_SAFETENSORS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

enum class StoredDType { kF32, kF16, kBF16 };

class SafetensorsFile {
 public:
  struct TensorInfo {
    StoredDType dtype;
    std::vector<int64_t> shape;
    const uint8_t* data;  // little-endian, row-major; aligned to the element size only if the file aligns it
    int64_t num_bytes;
  };

  // NotFound, PermissionDenied or InvalidArgument; the message names the file, the tensor and what is wrong. Tensors of other
  // dtypes than F32, F16 and BF16 are refused by name.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  // The same checks over bytes in memory (tests, fuzzing). `name` stands for the path in messages; data must outlive the result.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Parse(absl::string_view bytes, const std::string& name);
  ~SafetensorsFile();

  // nullptr if there is no such tensor.
  const TensorInfo* Find(absl::string_view name) const;
  const absl::btree_map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::string& path() const { return path_; }
  // Lets the pages that were read leave this process's memory; they come back from the file when they are read again.
  void ReleasePages() const;

 private:
  SafetensorsFile() = default;

  std::string path_;
  void* mapping_ = nullptr;  // nullptr if parsed from memory
  size_t mapping_bytes_ = 0;
  absl::btree_map<std::string, TensorInfo> tensors_;
};

}  // namespace ration

#endif  // RATION_ENGINE_WEIGHTS_SAFETENSORS_H_
