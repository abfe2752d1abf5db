#include "tests/testing/checkpoint_files.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/check.h"
#include "engine/weights/safetensors_writer.h"

namespace ration {

at::Tensor RandomNormal(uint64_t seed, const std::string& name, at::IntArrayRef shape, double mean, double deviation) {
  uint64_t hash = 14695981039346656037u ^ seed;  // FNV-1a
  for (unsigned char c : name) hash = (hash ^ c) * 1099511628211u;
  return at::randn(shape, at::detail::createCPUGenerator(hash), at::kFloat) * deviation + mean;
}

void AddRandomRouter(uint64_t seed, const std::string& router, int64_t num_experts, int64_t hidden,
                     at::ScalarType dtype, int64_t calibration_tokens,
                     absl::btree_map<std::string, at::Tensor>& tensors) {
  const double deviation = 1 / std::sqrt(static_cast<double>(hidden));
  const at::Tensor weight = RandomNormal(seed, router + ".weight", {num_experts, hidden}, 0, deviation).to(dtype),
                   bias = RandomNormal(seed, router + ".bias", {num_experts}, 0, 0.1).to(dtype);
  tensors[router + ".weight"] = weight;
  tensors[router + ".bias"] = bias;
  if (calibration_tokens == 0) return;
  const at::Tensor inputs = RandomNormal(seed, router + ".inputs", {calibration_tokens, hidden}, 0, 1);
  tensors[router + ".calibration"] = at::sigmoid(at::matmul(inputs, weight.to(at::kFloat).t()) + bias.to(at::kFloat));
}

TemporaryDirectory::TemporaryDirectory() {
  const char* base = std::getenv("TEST_TMPDIR");
  path_ = absl::StrCat(base != nullptr ? base : "/tmp", "/checkpoint.XXXXXX");
  RATION_CHECK(mkdtemp(path_.data()) != nullptr);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void WriteTextFile(const std::string& path, const std::string& text) {
  std::ofstream stream(path, std::ios::binary);
  stream << text;
  stream.close();
  RATION_CHECK(stream.good());
}

void WriteTensorFiles(const TemporaryDirectory& directory, const absl::btree_map<std::string, at::Tensor>& tensors,
                      int64_t shards) {
  if (shards <= 1) {
    RATION_CHECK(WriteSafetensors(directory.File("model.safetensors"), tensors).ok());
    return;
  }
  // Dealt out in turn, so that every layer is spread over the shards.
  std::vector<absl::btree_map<std::string, at::Tensor>> dealt(shards);
  nlohmann::json weight_map = nlohmann::json::object();
  const auto shard_name = [&](size_t shard) {
    return absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shards);
  };
  size_t next = 0;
  for (const auto& [name, tensor] : tensors) {
    dealt[next][name] = tensor;
    weight_map[name] = shard_name(next);
    next = (next + 1) % dealt.size();
  }
  for (size_t shard = 0; shard < dealt.size(); ++shard) {
    RATION_CHECK(WriteSafetensors(directory.File(shard_name(shard)), dealt[shard]).ok());
  }
  WriteTextFile(directory.File("model.safetensors.index.json"),
                nlohmann::json({{"metadata", nlohmann::json::object()}, {"weight_map", weight_map}}).dump(2));
}

}  // namespace ration
