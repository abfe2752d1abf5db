// What every sequence may rely on, whatever else runs: the same logits and routes alone, in a batch, chunked differently and on
// any number of threads; every token cached once at one expert; pages as the ratio says.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/model/model_factory.h"
#include "engine/weights/checkpoint.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/testing/sequence_runner.h"
#include "tests/testing/tiny_checkpoint.h"

namespace ration {
namespace {

using testing::SequenceRunner;

constexpr int64_t kWindow = 16;

struct Loaded {
  std::unique_ptr<kernels::cpu::ThreadPool> pool;
  std::unique_ptr<Checkpoint> checkpoint;
  ServingModel serving;
  std::unique_ptr<KvCacheManager> cache;
};

Loaded Load(const TinyCheckpoint& files, const std::string& ratio, kernels::DType compute, int threads = 2) {
  Loaded loaded;
  loaded.pool = std::make_unique<kernels::cpu::ThreadPool>(threads);
  loaded.checkpoint = *Checkpoint::Open(files.directory());
  ModelOptions options;
  options.compute = compute;
  options.kv_budget_bytes = 64 << 20;
  options.ratio = *Ratio::Parse(ratio, loaded.checkpoint->config().experts().num_experts());
  absl::StatusOr<ServingModel> serving =
      BuildServingModel(*loaded.checkpoint, loaded.checkpoint->config(), options, loaded.pool.get());
  EXPECT_TRUE(serving.ok()) << serving.status();
  loaded.serving = *std::move(serving);
  loaded.cache = std::make_unique<KvCacheManager>(*loaded.serving.spec, loaded.serving.num_pages);
  return loaded;
}

std::vector<int32_t> RandomTokens(int64_t count, uint64_t seed, int32_t vocab = 384) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab);
  return tokens;
}

struct Param {
  const char* ratio;
  kernels::DType compute;
};

class LlamaTest : public ::testing::TestWithParam<Param> {
 protected:
  const TinyCheckpoint files_;
};

TEST_P(LlamaTest, ChunkingAndThreadsChangeNothing) {
  const std::vector<int32_t> prompt = RandomTokens(5 * kWindow + 3, 1);
  Loaded loaded = Load(files_, GetParam().ratio, GetParam().compute);
  SequenceRunner whole(&loaded.serving, loaded.cache.get());
  const at::Tensor want = whole.Prefill(prompt, 0);
  for (int64_t chunk : {kWindow, 2 * kWindow, 3 * kWindow}) {
    SequenceRunner chunked(&loaded.serving, loaded.cache.get());
    EXPECT_TRUE(at::equal(chunked.Prefill(prompt, chunk), want)) << "chunks of " << chunk;
    EXPECT_EQ(chunked.routes(), whole.routes()) << "chunks of " << chunk;
  }
  for (int threads : {1, 3}) {
    Loaded other = Load(files_, GetParam().ratio, GetParam().compute, threads);
    SequenceRunner runner(&other.serving, other.cache.get());
    EXPECT_TRUE(at::equal(runner.Prefill(prompt, 0), want)) << threads << " threads";
  }
}

TEST_P(LlamaTest, ASequenceIsTheSameAloneAndInAMixedBatch) {
  Loaded loaded = Load(files_, GetParam().ratio, GetParam().compute);
  constexpr int kSequences = 7;
  constexpr int64_t kDecoded = 20;
  struct Sequence {
    std::vector<int32_t> tokens;  // prompt, then what is decoded
    int64_t prompt = 0;
    std::unique_ptr<SequenceKv> kv;
    std::unique_ptr<SequenceRouting> routing;
    int64_t position = 0;
    std::vector<at::Tensor> logits;
    std::vector<std::vector<uint8_t>> routes;
  };
  std::vector<Sequence> sequences(kSequences);
  for (int s = 0; s < kSequences; ++s) {
    sequences[s].prompt = 1 + 13 * s;
    sequences[s].tokens = RandomTokens(sequences[s].prompt + kDecoded, 100 + s);
    sequences[s].kv = loaded.cache->NewSequence();
    ASSERT_NE(sequences[s].kv, nullptr);
    sequences[s].routing = std::make_unique<SequenceRouting>(loaded.serving.config.num_layers);
    sequences[s].routes.resize(loaded.serving.config.num_layers);
  }
  // Sequences enter one a step, so that prefill and decode of different sequences share steps.
  for (int step = 0; step < 60; ++step) {
    ForwardBatch batch;
    std::vector<Sequence*> scheduled;
    for (int s = 0; s <= std::min(step, kSequences - 1); ++s) {
      Sequence& sequence = sequences[s];
      const int64_t left = static_cast<int64_t>(sequence.tokens.size()) - sequence.position;
      if (left == 0) continue;
      SequenceStep item;
      item.kv = sequence.kv.get();
      item.routing = sequence.routing.get();
      item.router = loaded.serving.router.get();
      item.start_position = sequence.position;
      item.phase = sequence.position < sequence.prompt ? Phase::kPrefill : Phase::kDecode;
      const int64_t count = item.phase == Phase::kDecode ? 1 : std::min(kWindow, sequence.prompt - sequence.position);
      item.tokens = absl::MakeConstSpan(sequence.tokens).subspan(sequence.position, count);
      item.num_logits = count;
      item.route_log = &sequence.routes;
      batch.sequences.push_back(item);
      scheduled.push_back(&sequence);
    }
    if (scheduled.empty() && step >= kSequences) break;
    const at::Tensor logits = *loaded.serving.model->Forward(batch, *loaded.cache);
    int64_t row = 0;
    for (size_t i = 0; i < scheduled.size(); ++i) {
      const int64_t count = batch.sequences[i].num_logits;
      scheduled[i]->logits.push_back(logits.narrow(0, row, count).clone());
      scheduled[i]->position += count;
      row += count;
    }
    loaded.cache->CheckInvariants();
  }
  for (int s = 0; s < kSequences; ++s) {
    ASSERT_EQ(sequences[s].position, static_cast<int64_t>(sequences[s].tokens.size()));
    SequenceRunner alone(&loaded.serving, loaded.cache.get());
    const absl::Span<const int32_t> tokens = sequences[s].tokens;
    std::vector<at::Tensor> rows = {alone.Prefill(tokens.subspan(0, sequences[s].prompt), 0)};
    for (int32_t token : tokens.subspan(sequences[s].prompt)) rows.push_back(alone.Decode(token).unsqueeze(0));
    EXPECT_TRUE(at::equal(at::cat(sequences[s].logits, 0), at::cat(rows, 0))) << "sequence " << s;
    EXPECT_EQ(sequences[s].routes, alone.routes()) << "sequence " << s;
  }
}

TEST_P(LlamaTest, EveryTokenIsCachedOnceAndPrefillHoldsTheQuotaExactly) {
  Loaded loaded = Load(files_, GetParam().ratio, GetParam().compute);
  const int64_t tokens = 20 * kWindow + 5;
  SequenceRunner runner(&loaded.serving, loaded.cache.get());
  runner.Prefill(RandomTokens(tokens, 3), 4 * kWindow);
  const Ratio& ratio = loaded.serving.router->ratio();
  for (int64_t layer = 0; layer < loaded.serving.config.num_layers; ++layer) {
    int64_t total = 0;
    for (int e = 0; e < 3; ++e) {
      const int64_t held = runner.kv().num_tokens(layer, e);
      EXPECT_EQ(held, std::count(runner.routes()[layer].begin(), runner.routes()[layer].end(), e));
      EXPECT_LT(std::abs(static_cast<double>(held) - ratio.share(e) * tokens), 1.0) << "layer " << layer << " expert " << e;
      total += held;
    }
    EXPECT_EQ(total, tokens);
  }
}

TEST_P(LlamaTest, PagesAreTheRatiosShareOfFullKvPlusTailWasteOnly) {
  Loaded loaded = Load(files_, GetParam().ratio, GetParam().compute);
  const KvCacheSpec& spec = *loaded.serving.spec;
  const int64_t tokens = 200 * kWindow;
  SequenceRunner runner(&loaded.serving, loaded.cache.get());
  runner.Prefill(RandomTokens(tokens, 4), 16 * kWindow);
  const double full = static_cast<double>(tokens * spec.bytes_per_token(0));
  const double stored = static_cast<double>(loaded.cache->used_bytes() - loaded.cache->waste_bytes());
  // A count may be off its share by less than a token an expert and layer.
  const double rounding = 3.0 * static_cast<double>(spec.bytes_per_token(0));
  EXPECT_NEAR(stored, full * loaded.serving.router->ratio().KvFraction(spec.experts()), rounding);
  // At most one part-filled page an expert and layer.
  EXPECT_LE(loaded.cache->waste_bytes(), spec.num_layers() * spec.num_experts() * spec.page_bytes());
}

INSTANTIATE_TEST_SUITE_P(Ratios, LlamaTest,
                         ::testing::Values(Param{"1:0:0", kernels::DType::kF32}, Param{"3:1:6", kernels::DType::kF32},
                                           Param{"0:1:0", kernels::DType::kF32}, Param{"0:0:1", kernels::DType::kF32},
                                           Param{"5:3:2", kernels::DType::kF32}, Param{"3:1:6", kernels::DType::kBF16},
                                           Param{"1:0:0", kernels::DType::kBF16}),
                         [](const auto& info) {
                           std::string name = absl::StrCat(info.param.ratio, "_", kernels::Name(info.param.compute));
                           std::replace(name.begin(), name.end(), ':', '_');
                           return "ratio_" + name;
                         });

TEST(LlamaVariantsTest, BiasesUntiedEmbeddingsAndShardsLoadAndTheirTensorsMatter) {
  TinyCheckpointOptions plain;
  plain.group_sizes = {};
  const std::vector<int32_t> prompt = RandomTokens(9, 5);
  const auto logits = [&](const TinyCheckpointOptions& options) {
    const TinyCheckpoint files(options);
    Loaded loaded = Load(files, "1", kernels::DType::kF32);
    SequenceRunner runner(&loaded.serving, loaded.cache.get());
    return runner.Prefill(prompt, 0);
  };
  const at::Tensor base = logits(plain);
  TinyCheckpointOptions sharded = plain, as_head = plain;
  sharded.shards = 3;
  as_head.tied_as_lm_head = true;
  EXPECT_TRUE(at::equal(logits(sharded), base));
  TinyCheckpointOptions biased = plain, mlp_biased = plain, untied = plain;
  biased.attention_bias = true;
  mlp_biased.mlp_bias = true;
  untied.tied = false;
  EXPECT_FALSE(at::allclose(logits(biased), base, 1e-3, 1e-3));
  EXPECT_FALSE(at::allclose(logits(mlp_biased), base, 1e-3, 1e-3));
  EXPECT_FALSE(at::allclose(logits(untied), base, 1e-3, 1e-3));
  EXPECT_EQ(logits(as_head).sizes(), base.sizes());
}

TEST(LlamaVariantsTest, AMissingTensorIsNamed) {
  class Without final : public TensorSource {
   public:
    Without(const TensorSource* source, std::string name) : source_(source), name_(std::move(name)) {}
    bool Has(absl::string_view name) const override { return name != name_ && source_->Has(name); }
    absl::StatusOr<at::Tensor> Tensor(absl::string_view name, absl::Span<const int64_t> shape) const override {
      if (name == name_) return absl::NotFoundError(absl::StrCat("tensor ", name, " is missing"));
      return source_->Tensor(name, shape);
    }

   private:
    const TensorSource* const source_;
    const std::string name_;
  };
  const TinyCheckpoint files;
  const auto checkpoint = *Checkpoint::Open(files.directory());
  kernels::cpu::ThreadPool pool(1);
  ModelOptions options;
  options.kv_budget_bytes = 1 << 20;
  for (const std::string& name : checkpoint->Names()) {
    if (name.find("calibration") != std::string::npos) continue;  // optional
    const Without source(checkpoint.get(), name);
    const auto serving = BuildServingModel(source, checkpoint->config(), options, &pool);
    ASSERT_FALSE(serving.ok()) << name;
    EXPECT_EQ(serving.status().code(), absl::StatusCode::kNotFound);
    EXPECT_NE(serving.status().message().find(name), std::string::npos) << serving.status();
  }
}

}  // namespace
}  // namespace ration
