// Exactness of regrouping in a real model: a prompt is prefilled at full KV, its cached tokens are regrouped, and decoding goes on over
// what is left. The oracle, which has no cache, is told which token ended at which expert: queries from then on see those tokens' grouped
// keys and values, the prompt's own queries saw them whole. Logits must agree.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/budget/regrouper.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/model_factory.h"
#include "engine/weights/checkpoint.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/testing/fake_kv_store.h"
#include "tests/testing/sequence_runner.h"
#include "tools/train/decoder_math.h"
#include "tools/train/llama_forward.h"
#include "tools/train/llama_weights.h"
#include "tools/train/route_functions.h"

namespace ration {
namespace {

using testing::FakeKvStore;
using testing::SequenceRunner;

// Does to a fake what it does to the real bytes, so that a test knows which token lies where.
class TeeStore final : public KvStore {
 public:
  TeeStore(KvStore* real, FakeKvStore* marks) : real_(real), marks_(marks) {}
  void Regroup(const RegroupMoves& moves) override {
    real_->Regroup(moves);
    marks_->Regroup(moves);
  }
  void CopyPages(absl::Span<const PageMove> copies) override {
    real_->CopyPages(copies);
    marks_->CopyPages(copies);
  }
  absl::Status Resize(int64_t num_pages) override {
    const absl::Status status = marks_->Resize(num_pages);
    return status.ok() ? real_->Resize(num_pages) : status;
  }

 private:
  KvStore* const real_;
  FakeKvStore* const marks_;
};

class RegroupAgainstOracleTest : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr int64_t kPages = 4096;

  void SetUp() override {
    auto checkpoint = Checkpoint::Open("deploy/models/stories-mixsga");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    ModelOptions options;
    options.compute = kernels::DType::kF32;
    options.kv_budget_bytes = kPages * 2048;
    options.ratio = Ratio::AllTo(0, 3);
    auto serving = BuildServingModel(**checkpoint, (*checkpoint)->config(), options, &pool_);
    ASSERT_TRUE(serving.ok()) << serving.status();
    serving_ = std::make_unique<ServingModel>(*std::move(serving));
    cache_ = std::make_unique<KvCacheManager>(*serving_->spec, serving_->num_pages);
    auto weights = LoadLlamaWeights(**checkpoint);
    ASSERT_TRUE(weights.ok()) << weights.status();
    oracle_ = *std::move(weights);
    marks_ = std::make_unique<FakeKvStore>(serving_->spec->layout(), serving_->num_pages);
    store_ = std::make_unique<TeeStore>(serving_->store.get(), marks_.get());
  }

  // Marks every cached token with its position + 1; at full KV the slots are in the order of positions.
  void MarkPositions(const SequenceKv& kv) {
    for (int64_t layer = 0; layer < serving_->spec->num_layers(); ++layer) {
      const kernels::PagedKvView view = kv.View(layer);
      const int32_t slots = marks_->slots_per_page(0);
      for (int32_t t = 0; t < view.experts[0].num_slots; ++t) {
        marks_->Write({view.experts[0].pages[t / slots], t % slots, 0}, static_cast<uint64_t>(t) + 1);
      }
    }
  }
  // [layers][positions] where every token lies now.
  std::vector<std::vector<uint8_t>> Experts(const SequenceKv& kv, int64_t tokens) {
    std::vector<std::vector<uint8_t>> experts(serving_->spec->num_layers(), std::vector<uint8_t>(tokens, 255));
    for (size_t layer = 0; layer < experts.size(); ++layer) {
      const kernels::PagedKvView view = kv.View(static_cast<int64_t>(layer));
      for (int e = 0; e < 3; ++e) {
        const int32_t slots = marks_->slots_per_page(e);
        for (int32_t s = 0; s < view.experts[e].num_slots; ++s) {
          const uint64_t position = marks_->Read({view.experts[e].pages[s / slots], s % slots, e}) - 1;
          EXPECT_EQ(experts[layer][position], 255);
          experts[layer][position] = static_cast<uint8_t>(e);
        }
      }
    }
    return experts;
  }
  // The oracle's logits of `tokens` [T, V], when queries from position `prompt` on see the prompt's tokens at `experts`.
  at::Tensor Ask(const std::vector<int32_t>& tokens, int64_t prompt, const std::vector<std::vector<uint8_t>>& experts) {
    const int64_t length = static_cast<int64_t>(tokens.size());
    int layer = 0;
    ForwardOptions options;
    options.attention = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      at::Tensor gates = at::zeros({1, length, 3});
      for (int64_t t = 0; t < length; ++t) gates[0][t][t < prompt ? experts[layer][t] : 0] = 1;
      ++layer;
      const ExpertSpec& spec = serving_->spec->experts();
      const at::Tensor before = PlainAttention(q, k, v);
      const at::Tensor after = PlainAttention(q, GroupHeads(k, gates, spec), GroupHeads(v, gates, spec));
      return at::cat({before.narrow(1, 0, prompt), after.narrow(1, prompt, length - prompt)}, 1);
    };
    const c10::NoGradGuard no_grad;
    const at::Tensor ids = at::tensor(std::vector<int64_t>(tokens.begin(), tokens.end())).unsqueeze(0);
    return LlamaForward(oracle_, ids, options)[0];
  }

  kernels::cpu::ThreadPool pool_{2};
  std::unique_ptr<ServingModel> serving_;
  std::unique_ptr<KvCacheManager> cache_;
  std::unique_ptr<FakeKvStore> marks_;
  std::unique_ptr<TeeStore> store_;
  LlamaWeights oracle_;
};

TEST_P(RegroupAgainstOracleTest, LogitsAfterRegroupingAreTheOracles) {
  const Ratio target = *Ratio::Parse(GetParam(), 3);
  for (int64_t prompt : {1, 7, 150, 300}) {
    std::mt19937_64 random(prompt);
    std::vector<int32_t> tokens(prompt + 24);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % serving_->config.vocab_size);
    const auto decode = [&](SequenceRunner& runner) {
      std::vector<at::Tensor> rows;
      for (size_t t = prompt; t < tokens.size(); ++t) rows.push_back(runner.Decode(tokens[t]));
      return at::stack(rows);
    };
    SequenceRunner whole(serving_.get(), cache_.get()), regrouped(serving_.get(), cache_.get());
    whole.Prefill(absl::MakeConstSpan(tokens).subspan(0, prompt), 0);
    regrouped.Prefill(absl::MakeConstSpan(tokens).subspan(0, prompt), 0);
    MarkPositions(regrouped.kv());
    Regrouper regrouper(cache_.get(), store_.get());
    regrouper.Regroup(regrouped.mutable_kv(), target, Regrouper::kAll);
    regrouper.Flush();
    cache_->CheckInvariants();
    const std::vector<std::vector<uint8_t>> experts = Experts(regrouped.kv(), prompt);
    // At the target, but for what does not fill a page.
    const double bytes = static_cast<double>(regrouped.kv().stored_bytes());
    const double wanted = target.KvFraction(serving_->spec->experts()) * static_cast<double>(regrouped.kv().full_bytes());
    const double page = static_cast<double>(serving_->spec->page_bytes() * serving_->spec->num_layers());
    EXPECT_LE(bytes, wanted + 2 * page);
    EXPECT_GE(bytes, wanted - 1);

    const at::Tensor got = decode(regrouped), full = decode(whole);
    const at::Tensor want = Ask(tokens, prompt, experts).narrow(0, prompt, 24);
    const float tolerance = 2e-4f * std::max(1.0f, want.abs().max().item<float>() / 10);
    EXPECT_LE((got - want).abs().max().item<float>(), tolerance) << prompt << " tokens";
    if (prompt > 100 && target != Ratio::AllTo(0, 3)) {
      EXPECT_GT((got - full).abs().max().item<float>(), 10 * tolerance) << "regrouping changed nothing";
    }
  }
}

// The budget falls and rises under a sequence; pages move; what it computes stays what it was.
TEST_P(RegroupAgainstOracleTest, PagesThatMoveWhenThePoolShrinksKeepTheirBytes) {
  std::vector<int32_t> tokens(200);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(5 + i % 300);
  auto elsewhere = std::make_unique<SequenceRunner>(serving_.get(), cache_.get());
  elsewhere->Prefill(tokens, 0);  // takes the low pages
  SequenceRunner moved(serving_.get(), cache_.get()), stays(serving_.get(), cache_.get());
  moved.Prefill(tokens, 0);
  stays.Prefill(tokens, 0);
  elsewhere.reset();
  std::vector<PageMove> copies;
  const int64_t used = cache_->used_pages();
  MarkPositions(moved.kv());
  MarkPositions(stays.kv());
  cache_->Shrink(used, copies);
  ASSERT_GT(copies.size(), 0u);
  store_->CopyPages(copies);
  ASSERT_TRUE(store_->Resize(used).ok());
  cache_->CheckInvariants();
  cache_->Grow(kPages);
  ASSERT_TRUE(store_->Resize(kPages).ok());
  SequenceRunner fresh(serving_.get(), cache_.get());
  fresh.Prefill(tokens, 0);
  const at::Tensor want = fresh.Decode(9);
  EXPECT_TRUE(moved.Decode(9).equal(want));
  EXPECT_TRUE(stays.Decode(9).equal(want));
}

INSTANTIATE_TEST_SUITE_P(Targets, RegroupAgainstOracleTest, ::testing::Values("0:0:1", "0:1:0", "3:1:6", "5:3:2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), ':', '_');
                           return name;
                         });

}  // namespace
}  // namespace ration
