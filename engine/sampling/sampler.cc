#include "engine/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/check.h"
#include "engine/sampling/counter_rng.h"
#include "engine/sampling/logits_math.h"

namespace ration {
namespace {

// A token with its logit or its weight, exp((logit - max) / temperature).
struct Candidate {
  float value;
  int32_t id;
};

bool Likelier(const Candidate& a, const Candidate& b) { return a.value != b.value ? a.value > b.value : a.id < b.id; }
bool LowerId(const Candidate& a, const Candidate& b) { return a.id < b.id; }

// Buffers as large as the vocabulary, kept by each thread that samples.
struct Workspace {
  std::vector<float> row;
  std::vector<float> weights;
  std::vector<Candidate> candidates;
  std::vector<Candidate> ranked;
};

Workspace& ThreadWorkspace() {
  static thread_local Workspace workspace;
  return workspace;
}

// The `k` likeliest tokens with a logit above -infinity, in the order of their ids. One pass: a buffer takes what beats the
// k-th best seen so far and is cut back to k whenever it is full, so the cost is O(row) whatever k is.
void SelectTopK(absl::Span<const float> row, int64_t k, std::vector<Candidate>& out) {
  constexpr int64_t kSlack = 1024;
  const size_t capacity = static_cast<size_t>(2 * k + kSlack);
  out.clear();
  out.reserve(std::min(capacity, row.size()));
  Candidate last = {-std::numeric_limits<float>::infinity(), 0};  // the k-th best
  const auto cut = [&] {
    std::nth_element(out.begin(), out.begin() + (k - 1), out.end(), Likelier);
    out.resize(k);
    last = out.back();
  };
  // Block by block, because soon most blocks have nothing above the k-th best and one vector maximum shows it.
  constexpr size_t kBlock = 128;
  for (size_t begin = 0; begin < row.size(); begin += kBlock) {
    if (!(MaxLogit(row.subspan(begin, kBlock)) > last.value)) continue;  // an equal one has a higher id and loses
    for (size_t i = begin; i < std::min(begin + kBlock, row.size()); ++i) {
      const float logit = CleanLogit(row[i]);
      if (!(logit > last.value)) continue;
      out.push_back({logit, static_cast<int32_t>(i)});
      if (out.size() == capacity) cut();
    }
  }
  if (static_cast<int64_t>(out.size()) > k) cut();
  if (k <= kSlack || static_cast<int64_t>(out.size()) < k) {
    std::sort(out.begin(), out.end(), LowerId);
    return;
  }
  last = *std::max_element(out.begin(), out.end(), Likelier);  // a second pass is cheaper than sorting that many
  out.clear();
  for (size_t i = 0; i < row.size(); ++i) {
    const Candidate candidate = {CleanLogit(row[i]), static_cast<int32_t>(i)};
    if (!Likelier(last, candidate)) out.push_back(candidate);
  }
}

double SumValues(const std::vector<Candidate>& candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.value;
  return sum;
}

// Keeps the fewest likeliest candidates whose values reach `target`, and their order. Quickselect by mass: halve the range the
// last of them must be in, O(candidates), instead of sorting.
void KeepMass(double target, std::vector<Candidate>& candidates) {
  std::vector<Candidate>& ranked = ThreadWorkspace().ranked;
  ranked = candidates;
  auto begin = ranked.begin();  // everything before is kept and holds `mass`
  auto end = ranked.end();      // everything from here on is not needed
  double mass = 0;
  while (end - begin > 64) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, Likelier);
    double upper = 0;
    for (auto it = begin; it != middle; ++it) upper += it->value;
    if (mass + upper >= target) {
      end = middle;
    } else {
      mass += upper;
      begin = middle;
    }
  }
  std::sort(begin, end, Likelier);
  while (begin + 1 != end && mass + begin->value < target) mass += (begin++)->value;
  const Candidate last = *begin;
  candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                  [&](const Candidate& candidate) { return Likelier(last, candidate); }),
                   candidates.end());
}

int32_t LowestAllowed(absl::Span<const int32_t> forbidden) {
  int32_t id = 0;
  while (std::find(forbidden.begin(), forbidden.end(), id) != forbidden.end()) ++id;
  return id;
}

void FillLogprob(absl::Span<const float> logits, int32_t token, int32_t top_n, TokenLogprob& out) {
  out.token_id = token;
  out.top.clear();
  const float max = MaxLogit(logits);
  if (max == -std::numeric_limits<float>::infinity()) {
    out.logprob = max;
    return;
  }
  const double log_sum = max + std::log(SumExp(logits, max));
  out.logprob = static_cast<float>(CleanLogit(logits[token]) - log_sum);
  if (top_n <= 0) return;
  std::vector<Candidate>& top = ThreadWorkspace().candidates;
  SelectTopK(logits, std::min<int64_t>(top_n, logits.size()), top);
  std::sort(top.begin(), top.end(), Likelier);
  out.top.reserve(top.size());
  for (const Candidate& candidate : top) out.top.emplace_back(candidate.id, static_cast<float>(candidate.value - log_sum));
}

}  // namespace

Sampler::Sampler(const SamplingParams& params, absl::Span<const int32_t> prompt, uint64_t seed, int64_t vocab_size)
    : params_(params),
      seed_(seed),
      vocab_size_(vocab_size),
      has_penalties_(params.repetition_penalty != 1.0f || params.presence_penalty != 0 || params.frequency_penalty != 0) {
  if (params_.repetition_penalty != 1.0f) {
    for (int32_t id : prompt) generated_counts_.try_emplace(id, 0);
  }
}

int32_t Sampler::Sample(absl::Span<const float> logits, int64_t position, absl::Span<const int32_t> forbidden, int32_t top_n,
                        TokenLogprob* logprob) {
  RATION_CHECK(static_cast<int64_t>(logits.size()) == vocab_size_ && vocab_size_ > 0);
  const int32_t token = Choose(logits, position, forbidden);
  RATION_CHECK(token >= 0 && token < vocab_size_);
  if (has_penalties_) ++generated_counts_[token];
  if (logprob != nullptr) FillLogprob(logits, token, top_n, *logprob);
  return token;
}

int32_t Sampler::Choose(absl::Span<const float> logits, int64_t position, absl::Span<const int32_t> forbidden) const {
  const bool greedy = params_.temperature < kGreedyTemperature;
  absl::Span<const float> row = logits;
  if (has_penalties_ || !params_.logit_bias.empty() || !forbidden.empty()) {
    std::vector<float>& copy = ThreadWorkspace().row;
    copy.assign(logits.begin(), logits.end());
    EditLogits(absl::MakeSpan(copy));
    for (int32_t id : forbidden) {
      if (id >= 0 && id < vocab_size_) copy[id] = -std::numeric_limits<float>::infinity();
    }
    row = copy;
  }
  if (greedy) {
    const int64_t best = ArgMaxLogit(row);
    const bool impossible = CleanLogit(row[best]) == -std::numeric_limits<float>::infinity();
    return impossible ? LowestAllowed(forbidden) : static_cast<int32_t>(best);
  }
  const float max = MaxLogit(row);
  if (max == -std::numeric_limits<float>::infinity()) return LowestAllowed(forbidden);
  return Draw(row, max, position);
}

void Sampler::EditLogits(absl::Span<float> row) const {
  const auto in_vocabulary = [&](int32_t id) { return id >= 0 && id < vocab_size_; };
  for (const auto& [id, bias] : params_.logit_bias) {
    if (in_vocabulary(id)) row[id] = CleanLogit(row[id]) + bias;
  }
  // Each token is changed on its own, so the map's order does not matter.
  for (const auto& [id, count] : generated_counts_) {
    if (!in_vocabulary(id)) continue;
    float logit = CleanLogit(row[id]);
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    logit -= params_.frequency_penalty * static_cast<float>(count);
    if (count > 0) logit -= params_.presence_penalty;
    row[id] = logit;
  }
}

int32_t Sampler::Draw(absl::Span<const float> row, float max, int64_t position) const {
  const double uniform = UniformAt(seed_, static_cast<uint64_t>(position));
  const int64_t n = static_cast<int64_t>(row.size());
  std::vector<Candidate>& kept = ThreadWorkspace().candidates;
  const auto below_min_p = [&](const Candidate& candidate) { return candidate.value < params_.min_p; };
  double total = 0;  // weight of what min-p and top-k leave

  if (params_.top_k > 0 && params_.top_k < n) {
    SelectTopK(row, params_.top_k, kept);
    for (Candidate& candidate : kept) candidate.value = ExpNonPositive((candidate.value - max) / params_.temperature);
    kept.erase(std::remove_if(kept.begin(), kept.end(), below_min_p), kept.end());
    total = SumValues(kept);
  } else {
    std::vector<float>& weights = ThreadWorkspace().weights;
    weights.resize(n);
    total = ExpWeights(row, max, params_.temperature, absl::MakeSpan(weights));
    if (params_.min_p <= 0 && params_.top_p >= 1) return static_cast<int32_t>(PrefixSearch(weights, uniform * total));
    // Tokens below (1 - top_p) * total / n sum to less than 1 - top_p of the mass: top-p cannot reach them. That spares
    // ranking most of the vocabulary. Only without min-p, which changes the total; the factor leaves room for rounding.
    const float unreachable =
        params_.min_p > 0 ? 0.0f : static_cast<float>(0.999 * (1.0 - params_.top_p) * total / static_cast<double>(n));
    const float least = std::max({params_.min_p, unreachable, std::numeric_limits<float>::min()});
    kept.clear();
    for (int64_t i = 0; i < n; ++i) {
      if (weights[i] >= least) kept.push_back({weights[i], static_cast<int32_t>(i)});
    }
    if (params_.min_p > 0) total = SumValues(kept);
  }

  if (params_.top_p < 1) {
    KeepMass(params_.top_p * total, kept);
    total = SumValues(kept);
  }
  // Candidates are in the order of their ids: every sum above and below has one defined order.
  const double target = uniform * total;
  double sum = 0;
  int32_t last_possible = kept.front().id;
  for (const Candidate& candidate : kept) {
    if (candidate.value <= 0) continue;
    sum += candidate.value;
    if (sum > target) return candidate.id;
    last_possible = candidate.id;
  }
  return last_possible;  // rounding put the target at the very end
}

}  // namespace ration
