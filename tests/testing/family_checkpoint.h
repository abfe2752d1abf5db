// Writes tiny Hugging Face directories with seeded random weights of every model family that is served, plain or with
// mixSGA routers, for tests that compare two implementations. Every feature of a family has a visible effect in them:
// windows and caps are small, no bias is zero, no norm's weight is one. TinyCheckpoint has more variants, of Llama
// only. Layer: tests/testing. Pure functions of their options; thread-safe.
//
//   FamilyCheckpointOptions options;
//   options.routed = true;
//   const FamilyCheckpoint files(TestFamily::kGemma2, options);  // in files.directory() as long as `files` lives
#ifndef RATION_TESTS_TESTING_FAMILY_CHECKPOINT_H_
#define RATION_TESTS_TESTING_FAMILY_CHECKPOINT_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "tests/testing/checkpoint_files.h"

namespace ration {

// Llama shapes have 8 query and 4 key/value heads of size 8 over 48 hidden numbers; OPT 8 heads of size 8 over 64;
// Gemma-2 8 query and 4 key/value heads of size 16 over 48. The vocabulary is 384, max_position_embeddings 256.
enum class TestFamily {
  kLlama,        // untied head
  kLlama3Rope,   // rope_scaling llama3 with low limits, so that all three frequency bands occur; tied, biased attention
  kLinearRope,   // rope_scaling linear, factor 4
  kDynamicRope,  // rope_scaling dynamic, factor 2: plain RoPE up to max_position_embeddings tokens
  kOpt,          // norms before the sub-layers, final norm
  kOptPostNorm,  // norms behind them, no final norm, embeddings of 24 numbers with projections (OPT-350m's shape)
  kGemma2,       // window of 11 tokens on the even layers, attention cap 2, final cap 5, query_pre_attn_scalar 24
};

// In the order above; for testing::ValuesIn.
std::vector<TestFamily> AllTestFamilies();
// An identifier, e.g. "OptPostNorm"; for names of parameterised tests.
std::string Name(TestFamily family);
void PrintTo(TestFamily family, std::ostream* out);

struct FamilyCheckpointOptions {
  uint64_t seed = 1;
  int64_t num_layers = 3;             // two with a window and one without in Gemma-2
  at::ScalarType dtype = at::kFloat;  // kFloat, kHalf or kBFloat16; router calibration is always kFloat
  int64_t max_positions = 256;        // max_position_embeddings
  int64_t gemma2_window = 11;         // sliding_window
  bool opt_prefix = true;             // names "model.decoder.*"; false: "decoder.*", as some OPT files have

  // With routers of experts of these group sizes in windows of `routing_window` tokens, elastic, 3:1:6 by default, and
  // a "mixsga" object in config.json. Router tensors lie beside the projections: <layer>.self_attn.router.{weight [E,
  // D], bias [E], calibration [calibration_tokens, E]}.
  bool routed = false;
  std::vector<int> group_sizes = {1, 2, 4};
  int64_t routing_window = 16;
  std::string default_ratio = "3:1:6";
  int64_t calibration_tokens = 512;  // 0: no calibration tensors

  // A JSON merge patch (RFC 7396) to config.json, e.g. R"({"enable_bias": false})"; the tensors stay as they are.
  std::string config_patch = "{}";
};

// The tensors by Hugging Face's names, in options.dtype. A tensor's values depend on family, seed, name and shape only.
absl::btree_map<std::string, at::Tensor> FamilyTensors(TestFamily family, const FamilyCheckpointOptions& options = {});
// The text of config.json.
std::string FamilyConfigJson(TestFamily family, const FamilyCheckpointOptions& options = {});

// A temporary directory with config.json, generation_config.json, model.safetensors and the tiny tokenizer's
// tokenizer.json, removed with the object. Aborts if it cannot be written.
class FamilyCheckpoint {
 public:
  explicit FamilyCheckpoint(TestFamily family, const FamilyCheckpointOptions& options = {});

  const std::string& directory() const { return directory_.path(); }
  std::string File(const std::string& name) const { return directory_.File(name); }

 private:
  const TemporaryDirectory directory_;
};

}  // namespace ration

#endif  // RATION_TESTS_TESTING_FAMILY_CHECKPOINT_H_
