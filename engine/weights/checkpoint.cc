#include "engine/weights/checkpoint.h"

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/weights/shard_index.h"

namespace ration {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;
constexpr int64_t kMaxIndexBytes = int64_t{100} << 20;
constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    const std::string message = absl::StrCat(path, ": cannot open: ", std::strerror(errno));
    return errno == EACCES ? absl::PermissionDeniedError(message) : absl::NotFoundError(message);
  }
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": is not a regular file"));
  if (info.st_size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is ", info.st_size, " bytes long, more than the limit of ", max_bytes));
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return absl::PermissionDeniedError(absl::StrCat(path, ": cannot be read"));
  std::string text(static_cast<size_t>(info.st_size), '\0');
  stream.read(text.data(), info.st_size);
  text.resize(static_cast<size_t>(stream.gcount()));
  return text;
}

at::ScalarType ScalarTypeOf(StoredDType dtype) {
  switch (dtype) {
    case StoredDType::kF32:
      return at::kFloat;
    case StoredDType::kF16:
      return at::kHalf;
    case StoredDType::kBF16:
      break;
  }
  return at::kBFloat16;
}

bool Matches(absl::Span<const int64_t> stored, absl::Span<const int64_t> wanted) {
  return stored.size() == wanted.size() &&
         std::equal(stored.begin(), stored.end(), wanted.begin(), [](int64_t s, int64_t w) { return w < 0 || s == w; });
}

std::string ShapeText(absl::Span<const int64_t> shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpoint>> Checkpoint::Open(const std::string& directory) {
  const std::string prefix = absl::StrCat(directory, "/");
  struct stat info;
  if (stat(directory.c_str(), &info) != 0)
    return absl::NotFoundError(absl::StrCat(directory, ": ", std::strerror(errno)));
  if (!S_ISDIR(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(directory, ": is not a directory"));

  auto checkpoint = absl::WrapUnique(new Checkpoint);
  checkpoint->directory_ = directory;
  RATION_ASSIGN_OR_RETURN(const std::string config_json, ReadFile(prefix + "config.json", kMaxConfigBytes));
  std::string generation_json;
  if (Exists(prefix + "generation_config.json")) {
    RATION_ASSIGN_OR_RETURN(generation_json, ReadFile(prefix + "generation_config.json", kMaxConfigBytes));
    if (generation_json.empty()) return absl::InvalidArgumentError(prefix + "generation_config.json: is empty");
  }
  absl::StatusOr<ModelConfig> config = ParseModelConfig(config_json, generation_json);
  if (!config.ok()) return absl::Status(config.status().code(), absl::StrCat(prefix, config.status().message()));
  checkpoint->config_ = *std::move(config);

  if (Exists(prefix + kSingleFile)) {
    RATION_ASSIGN_OR_RETURN(std::shared_ptr<SafetensorsFile> file, SafetensorsFile::Open(prefix + kSingleFile));
    for (const auto& [name, tensor] : file->tensors()) checkpoint->file_of_.emplace(name, file);
    checkpoint->files_.push_back(std::move(file));
    return checkpoint;
  }
  if (!Exists(prefix + kIndexFile)) {
    return absl::NotFoundError(absl::StrCat(directory, ": has neither ", kSingleFile, " nor ", kIndexFile));
  }

  RATION_ASSIGN_OR_RETURN(const std::string index, ReadFile(prefix + kIndexFile, kMaxIndexBytes));
  RATION_ASSIGN_OR_RETURN(const auto shard_of, ParseShardIndex(index, prefix + kIndexFile));
  absl::btree_map<std::string, std::shared_ptr<SafetensorsFile>> shards;
  for (const auto& [tensor, shard] : shard_of) shards.emplace(shard, nullptr);
  for (auto& [shard, file] : shards) {
    RATION_ASSIGN_OR_RETURN(file, SafetensorsFile::Open(prefix + shard));
    checkpoint->files_.push_back(file);
  }
  for (const auto& [tensor, shard] : shard_of) {
    const std::shared_ptr<SafetensorsFile>& file = shards.at(shard);
    if (file->Find(tensor) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(prefix, kIndexFile, ": weight_map: tensor ", Quoted(tensor), " is not in ", Quoted(shard)));
    }
    checkpoint->file_of_.emplace(tensor, file);
  }
  return checkpoint;
}

bool Checkpoint::Has(absl::string_view name) const { return file_of_.contains(name); }

absl::StatusOr<at::Tensor> Checkpoint::Tensor(absl::string_view name, absl::Span<const int64_t> shape) const {
  const auto it = file_of_.find(name);
  if (it == file_of_.end()) {
    return absl::NotFoundError(
        absl::StrCat(directory_, ": tensor ", Quoted(name), " of shape ", ShapeText(shape), " is missing"));
  }
  const std::shared_ptr<SafetensorsFile>& file = it->second;
  const SafetensorsFile::TensorInfo& info = *file->Find(name);
  if (!Matches(info.shape, shape)) {
    return absl::InvalidArgumentError(absl::StrCat(file->path(), ": tensor ", Quoted(name), " has shape ",
                                                   ShapeText(info.shape), ", but ", "config.json wants ",
                                                   ShapeText(shape)));
  }
  const at::ScalarType type = ScalarTypeOf(info.dtype);
  const at::TensorOptions options = at::TensorOptions().dtype(type);
  if (reinterpret_cast<uintptr_t>(info.data) % c10::elementSize(type) != 0) {
    at::Tensor copy = at::empty(info.shape, options);
    if (info.num_bytes > 0) std::memcpy(copy.data_ptr(), info.data, static_cast<size_t>(info.num_bytes));
    return copy;
  }
  // The mapping is read-only: whoever writes into the tensor faults, so nobody can by accident. The deleter's copy of
  // `file` keeps the mapping as long as the tensor or a view of it lives.
  return at::from_blob(
      const_cast<uint8_t*>(info.data), info.shape, [file](void*) {}, options);
}

std::vector<std::string> Checkpoint::Names() const {
  std::vector<std::string> names;
  names.reserve(file_of_.size());
  for (const auto& [name, file] : file_of_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

int64_t Checkpoint::num_bytes() const {
  int64_t total = 0;
  for (const auto& [name, file] : file_of_) total += file->Find(name)->num_bytes;
  return total;
}

}  // namespace ration
