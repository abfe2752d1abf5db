#include "tests/testing/fake_model.h"

#include <algorithm>

#include <ATen/Functions.h>

#include "engine/base/check.h"
#include "engine/router/routing.h"

namespace ration::testing {
namespace {

constexpr int64_t kBurstTokens = 300;

uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t Extend(uint64_t hash, int32_t token) { return Mix(hash ^ (static_cast<uint64_t>(token) + 1)); }

// What a token leaves in a layer's slot: different for every token, place and text before it.
uint64_t MarkOf(int64_t layer, int64_t position, uint64_t hash) {
  return Mix(hash ^ Mix(static_cast<uint64_t>(layer) * 0x10001u + static_cast<uint64_t>(position)));
}

float Unit(uint64_t hash) { return static_cast<float>(hash >> 40) * 0x1.0p-24f; }

// A logit in [0, 4): flat enough that sampling has a choice.
float Logit(uint64_t hash, int64_t token) {
  return 4.0f * Unit(Mix(hash + static_cast<uint64_t>(token) * 0x2545f4914f6cdd1du));
}

int32_t Likeliest(uint64_t hash, int64_t vocab_size) {
  int32_t best = 0;
  for (int64_t v = 1; v < vocab_size; ++v) {
    if (Logit(hash, v) > Logit(hash, best)) best = static_cast<int32_t>(v);
  }
  return best;
}

}  // namespace

FakeModel::FakeModel(const Options& options) : scores_kind_(options.scores), store_(options.store) {
  info_.num_layers = options.num_layers;
  info_.vocab_size = options.vocab_size;
  info_.max_positions = options.max_positions;
  info_.routing_window = options.routing_window;
  info_.experts = options.experts;
}

int32_t FakeModel::GreedyToken(absl::Span<const int32_t> history, int64_t vocab_size) {
  uint64_t hash = 0;
  for (int32_t token : history) hash = Extend(hash, token);
  return Likeliest(hash, vocab_size);
}

std::vector<int32_t> FakeModel::GreedyTokens(std::vector<int32_t> prompt, int64_t count, int64_t vocab_size) {
  uint64_t hash = 0;
  for (int32_t token : prompt) hash = Extend(hash, token);
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(Likeliest(hash, vocab_size));
    hash = Extend(hash, tokens.back());
  }
  return tokens;
}

// Every token of the sequence is in its pages exactly once in every layer, whatever was regrouped and moved; in a layer with a window
// at least those that this step's tokens see.
void FakeModel::CheckStored(const SequenceStep& step, const History& history, const KvCacheSpec& spec) const {
  for (int64_t layer = 0; layer < info_.num_layers; ++layer) {
    const kernels::PagedKvView view = step.kv->View(layer);
    std::vector<uint64_t> found;
    for (int e = 0; e < info_.experts.num_experts(); ++e) {
      const int32_t slots = store_->slots_per_page(e);
      for (int32_t s = 0; s < view.experts[e].num_slots; ++s) {
        found.push_back(store_->Read({view.experts[e].pages[s / slots], s % slots, e}));
      }
    }
    std::vector<uint64_t> expected;
    for (size_t i = 0; i < history.hashes.size(); ++i) {
      expected.push_back(MarkOf(layer, static_cast<int64_t>(i), history.hashes[i]));
    }
    std::sort(found.begin(), found.end());
    const int64_t oldest = spec.window(layer) > 0 ? std::max<int64_t>(0, step.start_position - spec.window(layer) + 1) : 0;
    std::vector<uint64_t> seen(expected.begin() + std::min<int64_t>(oldest, static_cast<int64_t>(expected.size())), expected.end());
    std::sort(expected.begin(), expected.end());
    std::sort(seen.begin(), seen.end());
    RATION_CHECK(std::includes(found.begin(), found.end(), seen.begin(), seen.end()));
    RATION_CHECK(std::includes(expected.begin(), expected.end(), found.begin(), found.end()));
    RATION_CHECK(oldest > 0 || found == expected);
  }
}

void FakeModel::CheckStep(const SequenceStep& step, const History& history) const {
  const int64_t count = static_cast<int64_t>(step.tokens.size());
  RATION_CHECK(step.kv != nullptr && step.routing != nullptr && step.router != nullptr);
  RATION_CHECK(count >= 1 && step.start_position == history.length);
  RATION_CHECK(step.start_position + count <= info_.max_positions);
  RATION_CHECK(static_cast<int64_t>(step.routing->counts.size()) == info_.num_layers);
  for (int32_t token : step.tokens) RATION_CHECK(token >= 0 && token < info_.vocab_size);
  if (step.phase == Phase::kDecode) {
    RATION_CHECK(count == 1 && step.num_logits == 1);
  } else {
    // So a chunk after which the prefill goes on ended with a whole window.
    RATION_CHECK(step.start_position % info_.routing_window == 0);
    RATION_CHECK(step.num_logits == 0 || step.num_logits == 1);
  }
}

void FakeModel::FillScores(uint64_t hash, int64_t position, int64_t layer, float* scores) const {
  const int num_experts = info_.experts.num_experts();
  for (int e = 0; e < num_experts; ++e) {
    switch (scores_kind_) {
      case Scores::kRandom:
        scores[e] = Unit(Mix(hash ^ Mix(static_cast<uint64_t>(layer * kMaxExperts + e) + 77)));
        break;
      case Scores::kFirst:
        scores[e] = e == 0 ? 1.0f : 0.0f;
        break;
      case Scores::kLast:
        scores[e] = e == num_experts - 1 ? 1.0f : 0.0f;
        break;
      case Scores::kBursts:
        scores[e] = e == (position / kBurstTokens % 2 == 0 ? 0 : num_experts - 1) ? 1.0f : 0.0f;
        break;
    }
  }
}

void FakeModel::RouteAndAppend(const SequenceStep& step, const History& history, KvCacheManager& cache) {
  const int num_experts = info_.experts.num_experts();
  const int64_t count = static_cast<int64_t>(step.tokens.size());
  experts_.resize(count);
  slots_.resize(count);
  scores_.resize(count * num_experts);
  for (int64_t layer = 0; layer < info_.num_layers; ++layer) {
    for (int64_t i = 0; i < count; ++i) FillScores(hashes_[i], history.length + i, layer, &scores_[i * num_experts]);
    ExpertCounts& counts = step.routing->counts[layer];
    if (step.phase == Phase::kPrefill) {
      for (int64_t begin = 0; begin < count; begin += info_.routing_window) {
        const int64_t size = std::min(info_.routing_window, count - begin);
        ProgressiveTopK(absl::MakeConstSpan(scores_).subspan(begin * num_experts, size * num_experts), num_experts,
                        NextQuota(step.router->ratio(), counts, size), absl::MakeSpan(experts_).subspan(begin, size));
        for (int64_t i = begin; i < begin + size; ++i) counts.Add(experts_[i]);
      }
    } else {
      experts_[0] = static_cast<uint8_t>(step.router->Route(static_cast<int>(layer), scores_, counts));
      counts.Add(experts_[0]);
    }
    cache.Append(*step.kv, layer, step.start_position, experts_, scores_, absl::MakeSpan(slots_));
    for (int64_t i = 0; store_ != nullptr && i < count; ++i) store_->Write(slots_[i], MarkOf(layer, history.length + i, hashes_[i]));
  }
}

absl::StatusOr<at::Tensor> FakeModel::Forward(const ForwardBatch& batch, KvCacheManager& cache) {
  if (on_forward) on_forward(batch);
  ++num_forwards_;
  const int64_t rows = batch.num_logits();
  if (!logits_.defined() || logits_.size(0) < rows)
    logits_ = at::empty({std::max<int64_t>(rows, 1), info_.vocab_size}, at::kFloat);
  float* row = logits_.data_ptr<float>();
  seen_.clear();
  for (const SequenceStep& step : batch.sequences) {
    RATION_CHECK(seen_.insert(step.kv).second);  // one step a sequence
    History& history = histories_[step.kv];
    if (step.start_position == 0) history = History();
    CheckStep(step, history);
    if (store_ != nullptr) CheckStored(step, history, cache.spec());
    uint64_t hash = history.hash;
    hashes_.clear();
    for (int32_t token : step.tokens) hashes_.push_back(hash = Extend(hash, token));
    RouteAndAppend(step, history, cache);
    history.length += static_cast<int64_t>(step.tokens.size());
    history.hash = hash;
    if (store_ != nullptr) history.hashes.insert(history.hashes.end(), hashes_.begin(), hashes_.end());
    if (step.num_logits == 0) continue;
    for (int64_t v = 0; v < info_.vocab_size; ++v) row[v] = Logit(hash, v);
    row += info_.vocab_size;
  }
  if (!failure_.ok()) return std::exchange(failure_, absl::OkStatus());
  return logits_.narrow(0, 0, rows);
}

}  // namespace ration::testing
