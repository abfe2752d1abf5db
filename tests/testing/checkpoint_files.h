// What the makers of test checkpoints share: seeded random tensors, and a temporary Hugging Face directory to put them
// in. Knows no model family. Layer: tests/testing. Pure functions of their arguments; thread-safe.
#ifndef RATION_TESTS_TESTING_CHECKPOINT_FILES_H_
#define RATION_TESTS_TESTING_CHECKPOINT_FILES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "absl/container/btree_map.h"

namespace ration {

// Normal float32 numbers that depend on the seed, the name and the shape, not on what was drawn before.
at::Tensor RandomNormal(uint64_t seed, const std::string& name, at::IntArrayRef shape, double mean, double deviation);

// Adds `router`.weight, .bias and .calibration for `num_experts` experts over `hidden` numbers; the calibration holds
// the scores of so many random normal inputs (none: no such tensor) and is always kFloat.
void AddRandomRouter(uint64_t seed, const std::string& router, int64_t num_experts, int64_t hidden,
                     at::ScalarType dtype, int64_t calibration_tokens,
                     absl::btree_map<std::string, at::Tensor>& tensors);

// A directory under the test's own temporary one, removed with the object. Aborts if it cannot be made.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Aborts if the file cannot be written.
void WriteTextFile(const std::string& path, const std::string& text);

// Writes model.safetensors, or with shards > 1 an index and so many files, the tensors dealt out in turn.
void WriteTensorFiles(const TemporaryDirectory& directory, const absl::btree_map<std::string, at::Tensor>& tensors,
                      int64_t shards = 1);

}  // namespace ration

#endif  // RATION_TESTS_TESTING_CHECKPOINT_FILES_H_
