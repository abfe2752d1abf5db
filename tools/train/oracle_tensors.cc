#include "tools/train/oracle_tensors.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status_macros.h"

namespace ration {

absl::StatusOr<std::unique_ptr<DirectoryTensors>> DirectoryTensors::Open(const std::string& directory) {
  auto tensors = absl::WrapUnique(new DirectoryTensors);
  tensors->directory_ = directory;
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, "model") && absl::EndsWith(name, ".safetensors")) paths.push_back(entry.path().string());
  }
  if (paths.empty()) return absl::NotFoundError(absl::StrCat(directory, ": no model*.safetensors"));
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    RATION_ASSIGN_OR_RETURN(tensors->files_.emplace_back(), SafetensorsFile::Open(path));
  }
  return tensors;
}

const SafetensorsFile::TensorInfo* DirectoryTensors::Find(absl::string_view name) const {
  for (const auto& file : files_) {
    if (const SafetensorsFile::TensorInfo* info = file->Find(name); info != nullptr) return info;
  }
  return nullptr;
}

bool DirectoryTensors::Has(absl::string_view name) const { return Find(name) != nullptr; }

absl::StatusOr<at::Tensor> DirectoryTensors::Tensor(absl::string_view name, absl::Span<const int64_t> shape) const {
  const SafetensorsFile::TensorInfo* info = Find(name);
  if (info == nullptr) return absl::NotFoundError(absl::StrCat(directory_, ": tensor ", name, " is missing"));
  const bool fits = info->shape.size() == shape.size() &&
                    std::equal(shape.begin(), shape.end(), info->shape.begin(),
                               [](int64_t wanted, int64_t stored) { return wanted < 0 || wanted == stored; });
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(directory_, ": tensor ", name, " has shape [",
                                                   absl::StrJoin(info->shape, ", "), "], not [",
                                                   absl::StrJoin(shape, ", "), "]"));
  }
  const at::ScalarType type = info->dtype == StoredDType::kF32   ? at::kFloat
                              : info->dtype == StoredDType::kF16 ? at::kHalf
                                                                 : at::kBFloat16;
  at::Tensor copy = at::empty(info->shape, type);
  std::copy_n(info->data, info->num_bytes, static_cast<uint8_t*>(copy.data_ptr()));
  return copy;
}

absl::StatusOr<at::Tensor> ReadFloat(const TensorSource& source, const std::string& name,
                                     const std::vector<int64_t>& shape) {
  RATION_ASSIGN_OR_RETURN(const at::Tensor stored, source.Tensor(name, shape));
  return stored.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

absl::StatusOr<LinearWeights> ReadLinear(const TensorSource& source, const std::string& name, int64_t out, int64_t in,
                                         bool bias) {
  LinearWeights linear;
  RATION_ASSIGN_OR_RETURN(linear.weight, ReadFloat(source, name + ".weight", {out, in}));
  if (bias) {
    RATION_ASSIGN_OR_RETURN(linear.bias, ReadFloat(source, name + ".bias", {out}));
  }
  return linear;
}

absl::StatusOr<RouterWeights> ReadRouter(const TensorSource& source, const std::string& name,
                                         const OracleConfig& config) {
  RouterWeights router;
  if (!config.routing) return router;
  const int64_t num_experts = config.routing->experts.num_experts();
  RATION_ASSIGN_OR_RETURN(router.weight, ReadFloat(source, name + ".weight", {num_experts, config.hidden_size}));
  RATION_ASSIGN_OR_RETURN(router.bias, ReadFloat(source, name + ".bias", {num_experts}));
  if (source.Has(name + ".calibration")) {
    RATION_ASSIGN_OR_RETURN(router.calibration, ReadFloat(source, name + ".calibration", {-1, num_experts}));
  }
  return router;
}

}  // namespace ration
