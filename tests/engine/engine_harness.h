// An engine on a FakeModel and a FakeClock with small defaults, for the engine's tests.
// Layer: tests. Thread-compatible.
#ifndef RATION_TESTS_ENGINE_ENGINE_HARNESS_H_
#define RATION_TESTS_ENGINE_ENGINE_HARNESS_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/kv_cache/kv_cache_spec.h"
#include "engine/budget/router_cache.h"
#include "engine/kv_cache/kv_store.h"
#include "engine/router/decode_router.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/recording_sink.h"

namespace ration::testing {

struct HarnessOptions {
  FakeModel::Options model;  // experts: groups 1, 2, 4 of 4 heads unless set
  std::string ratio = "3:1:6";  // empty: the governor's, if the policy is that
  DecodeRule rule = DecodeRule::kThreshold;
  int64_t page_bytes = 0;
  std::vector<int64_t> windows;          // of the layers; empty: none has one
  Engine::Options engine;                // num_pages 0: 100,000
  std::unique_ptr<Tokenizer> tokenizer;  // null: no text
  KvStore* store = nullptr;              // null: books without bytes

  // The policies' tests choose; the others want one ratio and nothing that gives way.
  HarnessOptions() { engine.budget_policy = BudgetPolicy::kStatic; }
};

class EngineHarness {
 public:
  explicit EngineHarness(HarnessOptions options = {});

  // A greedy request with a prompt of `prompt_tokens` made-up tokens, which depend on `id` alone.
  GenerationRequest Request(const std::string& id, int64_t prompt_tokens, int64_t max_new_tokens) const;
  // Submits and returns the sink, which the harness owns. Dies if the engine refuses.
  RecordingSink& Submit(GenerationRequest request, int64_t capacity = std::numeric_limits<int64_t>::max());
  // Submits and expects a refusal.
  absl::Status SubmitStatus(GenerationRequest request);
  // Steps, checking the invariants after each, until nothing is left to run. Dies after a million steps.
  void RunUntilIdle();
  // Runs greedily what the fake model would generate for `request`.
  std::vector<int32_t> ExpectedGreedy(const GenerationRequest& request) const;

  Engine& engine() { return *engine_; }
  FakeModel& model() { return *model_; }
  FakeClock& clock() { return clock_; }
  const KvCacheSpec& spec() const { return *spec_; }
  const DecodeRouter& router() const { return *router_; }  // at the ratio of the options
  RouterCache& routers() { return *routers_; }
  // Hands the engine to an EngineRunner; the rest of the harness must outlive it.
  std::unique_ptr<Engine> TakeEngine() { return std::move(engine_); }

 private:
  FakeClock clock_;
  std::unique_ptr<FakeModel> model_;
  std::unique_ptr<KvCacheSpec> spec_;
  std::unique_ptr<const DecodeRouter> router_;
  std::unique_ptr<RouterCache> routers_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::unique_ptr<RecordingSink>> sinks_;
  std::unique_ptr<Engine> engine_;  // last: ends its requests, and so calls the sinks, when destroyed
};

// The experts with group sizes 1, 2 and 4 of `heads` key/value heads.
ExpertSpec ThreeExperts(int heads = 4);

}  // namespace ration::testing

#endif  // RATION_TESTS_ENGINE_ENGINE_HARNESS_H_
