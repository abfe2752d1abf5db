// A Model without matrix maths: routes by the real rules from scores a test chooses (also adversarial ones), appends to the KV
// cache as a real model does, and returns logits that are a pure function of the sequence's tokens, so that any output can be
// checked and nothing but the sequence itself can change it. Dies if it is given a step that the contract of Model forbids.
// Layer: tests. Thread-compatible, as a Model is.
#ifndef RATION_TESTS_TESTING_FAKE_MODEL_H_
#define RATION_TESTS_TESTING_FAKE_MODEL_H_

#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"
#include "engine/model/model.h"
#include "tests/testing/fake_kv_store.h"

namespace ration::testing {

class FakeModel final : public Model {
 public:
  enum class Scores {
    kRandom,   // uniform in [0, 1), from the token's history and the layer
    kFirst,    // every token wants expert 0 and nothing else
    kLast,     // every token wants the last expert
    kBursts,   // 300 tokens want expert 0, the next 300 the last, and so on: the worst for a rule that tracks a ratio
  };
  struct Options {
    int64_t num_layers = 2;
    int64_t vocab_size = 40;
    int64_t max_positions = 4096;
    int64_t routing_window = 16;
    ExpertSpec experts;
    Scores scores = Scores::kRandom;
    FakeKvStore* store = nullptr;  // if set: tokens leave their marks in it, and every Forward checks that all are where they belong
  };
  explicit FakeModel(const Options& options);

  const ModelInfo& info() const override { return info_; }
  absl::StatusOr<at::Tensor> Forward(const ForwardBatch& batch, KvCacheManager& cache) override;

  // The likeliest token after `history`, as Forward's logits have it (its lead is large enough for greedy sampling only).
  static int32_t GreedyToken(absl::Span<const int32_t> history, int64_t vocab_size);
  // What greedy decoding generates behind `prompt`.
  static std::vector<int32_t> GreedyTokens(std::vector<int32_t> prompt, int64_t count, int64_t vocab_size);

  // Makes the next Forward fail, after it has appended to the cache as a real failure would leave it.
  void FailNextForward(absl::Status status) { failure_ = std::move(status); }
  // Runs at the start of every Forward, e.g. to let a step take time.
  std::function<void(const ForwardBatch&)> on_forward;
  int64_t num_forwards() const { return num_forwards_; }

 private:
  struct History {
    int64_t length = 0;
    uint64_t hash = 0;
    std::vector<uint64_t> hashes;  // after each token, if there is a store
  };
  void CheckStored(const SequenceStep& step, const History& history, const KvCacheSpec& spec) const;
  void CheckStep(const SequenceStep& step, const History& history) const;
  void RouteAndAppend(const SequenceStep& step, const History& history, KvCacheManager& cache);
  void FillScores(uint64_t hash, int64_t position, int64_t layer, float* scores) const;

  ModelInfo info_;
  const Scores scores_kind_;
  FakeKvStore* const store_;
  absl::Status failure_;
  int64_t num_forwards_ = 0;
  absl::flat_hash_map<const SequenceKv*, History> histories_;
  absl::flat_hash_set<const SequenceKv*> seen_;
  std::vector<uint64_t> hashes_;  // [tokens of the step], of the history that ends with each
  std::vector<float> scores_;
  std::vector<uint8_t> experts_;
  std::vector<kernels::KvSlot> slots_;
  at::Tensor logits_;
};

}  // namespace ration::testing

#endif  // RATION_TESTS_TESTING_FAKE_MODEL_H_
