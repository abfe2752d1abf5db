// Writes tiny Llama directories with seeded random weights, in every variant the engine must load, for tests that need
// a model and no trained one. Layer: tests/testing. Pure functions of their options; thread-safe.
#ifndef RATION_TESTS_TESTING_TINY_CHECKPOINT_H_
#define RATION_TESTS_TESTING_TINY_CHECKPOINT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "tests/testing/checkpoint_files.h"

namespace ration {

struct TinyCheckpointOptions {
  uint64_t seed = 1;
  int64_t layers = 2;
  int64_t hidden = 32;
  int64_t query_heads = 8;
  int64_t kv_heads = 4;
  int64_t head_dim = 8;  // even; need not be hidden / query_heads
  int64_t ffn = 48;
  int64_t vocab = 384;  // enough for tests/testing/tiny_tokenizer
  int64_t max_positions = 4096;
  bool tied = true;              // no lm_head.weight
  bool tied_as_lm_head = false;  // with `tied`: the shared matrix is stored as lm_head.weight only
  bool attention_bias = false;
  bool mlp_bias = false;
  bool llama3_rope = false;           // with low limits, so that all three frequency bands occur
  at::ScalarType dtype = at::kFloat;  // kFloat, kHalf or kBFloat16; router calibration is always kFloat

  // Experts; empty: a plain checkpoint without a router. Else divisors of kv_heads.
  std::vector<int> group_sizes = {1, 2, 4};
  int64_t routing_window = 16;
  std::string trained_ratio = "elastic";
  std::string default_ratio = "3:1:6";  // one weight an expert
  int64_t calibration_tokens = 512;     // scores of random normal inputs; 0: no calibration tensors

  int64_t shards = 1;          // more than 1: an index and so many files
  bool with_tokenizer = true;  // tokenizer.json of tests/testing/tiny_tokenizer. REQUIRES: vocab >= its size
};

// The tensors by Hugging Face's names. A tensor's values depend on seed, name and shape only.
absl::btree_map<std::string, at::Tensor> TinyTensors(const TinyCheckpointOptions& options);
// The text of config.json.
std::string TinyConfigJson(const TinyCheckpointOptions& options);

// A temporary directory with the checkpoint in it, removed with the object. Aborts if it cannot be written.
class TinyCheckpoint {
 public:
  explicit TinyCheckpoint(const TinyCheckpointOptions& options = {});

  const std::string& directory() const { return directory_.path(); }
  std::string File(const std::string& name) const { return directory_.File(name); }

 private:
  const TemporaryDirectory directory_;
};

}  // namespace ration

#endif  // RATION_TESTS_TESTING_TINY_CHECKPOINT_H_
