// Paged attention of every code path of this machine against the double-precision reference, and its batch invariance.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/paged_fixture.h"

namespace ration::kernels {
namespace {

using cpu::CpuLevel;

// Sanitised code is ten times slower: shorter sequences, which still have several parts.
#ifdef RATION_SANITIZER
constexpr int64_t kInvarianceTokens = 300;
constexpr int64_t kLongTokens = 2500;
#else
constexpr int64_t kInvarianceTokens = 620;
constexpr int64_t kLongTokens = 6000;
#endif

const std::vector<Shape>& Shapes() {
  static const std::vector<Shape> shapes = {
      {8, 8, 8, {1, 2, 4}, 5},        {8, 4, 16, {1, 2, 4}, 8},  {6, 3, 24, {1, 3}, 3},  {4, 1, 64, {1}, 16},
      {32, 8, 64, {1, 2, 4}, 8},      {16, 8, 64, {1, 2, 4, 8}, 7}, {16, 4, 80, {1, 2, 4}, 5}, {8, 4, 128, {1, 2, 4}, 4},
      {5, 5, 40, {1, 5}, 6},          {4, 4, 256, {1, 4}, 2},    {12, 6, 7, {1, 2, 3, 6}, 9},
  };
  return shapes;
}

// Query rows [first, first + count) of one sequence of a fixture, where row i sees tokens 0 .. i; count 1 and first = last
// token is decode.
struct Rows {
  int sequence;
  int64_t first;
  int64_t count;
};

// The variants of the one kernel.
struct Variant {
  float soft_cap = 0;
  int32_t window = 0;
  // Tokens of pages that a window of the first row of the call has left are gone, as the cache frees them.
  bool free_pages = false;
};

class AttentionCall {
 public:
  AttentionCall(PagedFixture& fixture, const std::vector<Rows>& rows, const std::vector<const float*>& queries,
                const Variant& variant = {})
      : width_(int64_t{fixture.shape().num_query_heads} * fixture.layout().head_dim) {
    const int num_experts = fixture.layout().num_experts;
    params_.layout = fixture.layout();
    int64_t total = 0;
    for (const Rows& r : rows) total += r.count;
    visible_.reserve(rows.size());
    query_.assign(total * (width_ + kPadding), std::nanf(""));
    int64_t next = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      const TestSequence& tokens = fixture.sequence(rows[i].sequence);
      AttentionSequence sequence;
      sequence.kv = tokens.View(num_experts, rows[i].first + rows[i].count);
      sequence.query_begin = static_cast<int32_t>(next);
      sequence.num_queries = static_cast<int32_t>(rows[i].count);
      visible_.push_back(tokens.Visible(num_experts, rows[i].first, rows[i].count));
      sequence.first_position = static_cast<int32_t>(rows[i].first);
      if (variant.window > 0) AddPositions(tokens, variant, sequence, visible_.back());
      if (rows[i].count > 1) sequence.visible = visible_.back().data();
      sequences_.push_back(sequence);
      for (int64_t row = 0; row < rows[i].count; ++row, ++next) {
        std::copy_n(queries[i] + row * width_, width_, query_.begin() + next * (width_ + kPadding));
      }
    }
    params_.pool = fixture.pool();
    params_.num_query_heads = fixture.shape().num_query_heads;
    params_.scale = 1.0f / std::sqrt(static_cast<float>(fixture.layout().head_dim));
    params_.soft_cap = variant.soft_cap;
    params_.window = variant.window;
    params_.query = query_.data();
    params_.query_stride = width_ + kPadding;
    params_.out_stride = width_ + kPadding;
    params_.sequences = sequences_.data();
    params_.num_sequences = static_cast<int32_t>(sequences_.size());
    rows_ = total;
  }

  // Runs `attention(params)`; returns [rows, width], having checked that nothing was written between the rows.
  template <typename Attention>
  std::vector<float> Run(const Attention& attention) {
    std::vector<float> out(rows_ * (width_ + kPadding), -77.0f);
    params_.out = out.data();
    attention(params_);
    std::vector<float> result;
    for (int64_t row = 0; row < rows_; ++row) {
      const auto begin = out.begin() + row * (width_ + kPadding);
      result.insert(result.end(), begin, begin + width_);
      for (int i = 0; i < kPadding; ++i) EXPECT_EQ(begin[width_ + i], -77.0f) << "written past row " << row;
    }
    return result;
  }
  std::vector<float> RunCpu(int threads) {
    cpu::ThreadPool pool(threads);
    return Run([&](const AttentionParams& params) { cpu::PagedAttention(params, pool); });
  }

 private:
  void AddPositions(const TestSequence& tokens, const Variant& variant, AttentionSequence& sequence, std::vector<int32_t>& visible) {
    const int num_experts = params_.layout.num_experts;
    for (int e = 0; e < num_experts; ++e) {
      std::vector<int32_t>& positions = positions_.emplace_back();
      for (size_t t = 0; t < tokens.experts.size(); ++t) {
        if (tokens.experts[t] == e) positions.push_back(static_cast<int32_t>(t));
      }
      ExpertPages& pages = sequence.kv.experts[e];
      int32_t gone = 0;
      const int32_t oldest = sequence.first_position - variant.window + 1;
      const int32_t slots = params_.layout.slots_per_page[e];
      while (variant.free_pages && gone + slots <= pages.num_slots && positions[gone + slots - 1] < oldest) gone += slots;
      positions.erase(positions.begin(), positions.begin() + gone);
      pages.pages += gone / slots;
      pages.num_slots -= gone;
      pages.num_gone = gone;
      pages.positions = positions.data();
      for (size_t i = e; i < visible.size(); i += num_experts) visible[i] -= gone;
    }
  }

  static constexpr int kPadding = 3;
  const int64_t width_;
  int64_t rows_ = 0;
  AttentionParams params_;
  std::vector<AttentionSequence> sequences_;
  std::vector<std::vector<int32_t>> visible_;
  std::deque<std::vector<int32_t>> positions_;
  std::vector<float> query_;
};

// How far a correct result may be from the exact one. Let u = 2^-24 (2^-9 for what is rounded to bfloat16). A score is off by at
// most d_s = scale * sum |q_i k_i| * ((head_dim + 2) u + u_q), with u_q = 2^-9 if queries are rounded to bfloat16, else u; a weight
// relative to the exact one by d_w = e^(2 d_s) - 1 (its own score's error and the largest score's) + u_e (exponential, 2^-21, or
// 2^-13 for bfloat16 weights) + u_w (rounding, 2^-9 for bfloat16 weights); sums over n slots and their merges add
// (n + 8) u. The quotient of two such sums is off by at most twice that, times the weighted mean of |v|. A soft cap shrinks the
// scores' errors and adds 8 u of the cap. Returns the bound of each component: [head_dim].
std::vector<double> Tolerances(const PagedFixture& fixture, const TestSequence& tokens, int64_t last, int64_t head,
                               const float* query, const Variant& variant) {
  const KvLayout& layout = fixture.layout();
  const double u = std::ldexp(1.0, -24);
  const double rounding = layout.dtype == DType::kBF16 ? std::ldexp(1.0, -9) : u;
  const double scale = 1.0 / std::sqrt(static_cast<double>(layout.head_dim));
  const int64_t kv_head = head * layout.num_kv_heads / fixture.shape().num_query_heads;
  double largest_product = 0;
  double max = -INFINITY;
  std::vector<double> scores;
  const int64_t first = variant.window > 0 ? std::max<int64_t>(0, last - variant.window + 1) : 0;
  for (int64_t t = first; t <= last; ++t) {
    const int64_t stored = kv_head / layout.group_size[tokens.slots[t].expert];
    double product = 0;
    double score = 0;
    for (int64_t i = 0; i < layout.head_dim; ++i) {
      const double p = static_cast<double>(query[i]) * fixture.Key(tokens.slots[t], stored, i);
      product += std::abs(p);
      score += p;
    }
    largest_product = std::max(largest_product, product * scale);
    score *= scale;
    scores.push_back(variant.soft_cap > 0 ? variant.soft_cap * std::tanh(score / variant.soft_cap) : score);
    max = std::max(max, scores.back());
  }
  double sum = 0;
  std::vector<double> means(layout.head_dim, 0.0);
  for (int64_t t = first; t <= last; ++t) {
    const int64_t stored = kv_head / layout.group_size[tokens.slots[t].expert];
    const double weight = std::exp(scores[t - first] - max);
    sum += weight;
    for (int64_t i = 0; i < layout.head_dim; ++i) means[i] += weight * std::abs(fixture.Value(tokens.slots[t], stored, i));
  }
  const double score_error = largest_product * ((layout.head_dim + 2) * u + rounding) + 8 * u * variant.soft_cap;
  const double exponential = layout.dtype == DType::kBF16 ? std::ldexp(1.0, -13) : std::ldexp(1.0, -21);
  const double weight_error = std::expm1(2 * score_error) + exponential + rounding + static_cast<double>(last + 9) * u;
  for (double& mean : means) mean = 2 * weight_error * mean / sum + 1e-30;
  return means;
}

void ExpectNearReference(PagedFixture& fixture, const std::vector<Rows>& rows, int threads, const Variant& variant = {}) {
  const int64_t d = fixture.layout().head_dim;
  const int64_t heads = fixture.shape().num_query_heads;
  std::vector<std::vector<float>> queries;
  std::vector<const float*> pointers;
  for (const Rows& r : rows) queries.push_back(fixture.RandomFloats(r.count * heads * d));
  for (const std::vector<float>& q : queries) pointers.push_back(q.data());
  AttentionCall call(fixture, rows, pointers, variant);
  const std::vector<float> expected = call.Run([](const AttentionParams& params) { reference::PagedAttention(params); });
  const std::vector<float> actual = call.RunCpu(threads);
  ASSERT_EQ(expected.size(), actual.size());
  int64_t row = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t q = 0; q < rows[i].count; ++q, ++row) {
      for (int64_t head = 0; head < heads; ++head) {
        const std::vector<double> tolerances =
            Tolerances(fixture, fixture.sequence(rows[i].sequence), rows[i].first + q, head, pointers[i] + (q * heads + head) * d,
                       variant);
        for (int64_t component = 0; component < d; ++component) {
          const int64_t at = (row * heads + head) * d + component;
          ASSERT_NEAR(expected[at], actual[at], tolerances[component])
              << "sequence " << i << " query " << q << " head " << head << " component " << component;
        }
      }
    }
  }
}

class AttentionTest : public testing::TestWithParam<std::tuple<int, DType>> {
 protected:
  void SetUp() override {
    const auto level = static_cast<CpuLevel>(std::get<0>(GetParam()));
    if (level > cpu::DetectedCpuLevel()) GTEST_SKIP() << "this processor has no " << cpu::Name(level);
    cpu::SetCpuLevelForTesting(level);
  }
  void TearDown() override { cpu::SetCpuLevelForTesting(cpu::DetectedCpuLevel()); }
  DType dtype() const { return std::get<1>(GetParam()); }
};

TEST_P(AttentionTest, DecodeEqualsReferenceForEveryShapeAndMix) {
  uint32_t seed = 1;
  for (const Shape& shape : Shapes()) {
    PagedFixture fixture(shape, dtype(), seed++);
    const KvLayout& layout = fixture.layout();
    std::vector<Rows> rows;
    const auto add = [&](const std::vector<int32_t>& counts) {
      const int s = fixture.AddSequenceWithCounts(counts);
      const int64_t tokens = static_cast<int64_t>(fixture.sequence(s).experts.size());
      rows.push_back({s, tokens - 1, 1});
    };
    for (int e = 0; e < layout.num_experts; ++e) {
      // One expert alone: one token, page boundaries, chunk and part boundaries.
      const int32_t slots = layout.slots_per_page[e];
      for (const int32_t count : {1, slots - 1, slots, slots + 1, 63, 64, 65, 255, 256, 257, 600}) {
        if (count < 1) continue;
        std::vector<int32_t> counts(layout.num_experts, 0);
        counts[e] = count;
        add(counts);
      }
      // Every expert but this one.
      std::vector<int32_t> counts(layout.num_experts, 33);
      counts[e] = 0;
      if (layout.num_experts > 1) add(counts);
    }
    for (int i = 0; i < 4; ++i) {
      std::vector<int32_t> counts;
      for (int e = 0; e < layout.num_experts; ++e) counts.push_back(1 + static_cast<int32_t>(fixture.random()() % 300));
      add(counts);
    }
    SCOPED_TRACE("head_dim " + std::to_string(shape.head_dim) + ", kv heads " + std::to_string(shape.num_kv_heads));
    ExpectNearReference(fixture, rows, 1 + static_cast<int>(seed % 3));
  }
}

TEST_P(AttentionTest, PrefillWindowsSeeOnlyTheirPrefix) {
  uint32_t seed = 100;
  for (const Shape& shape : Shapes()) {
    PagedFixture fixture(shape, dtype(), seed++);
    const int a = fixture.AddRandomSequence(70);
    const int b = fixture.AddRandomSequence(280);
    const int c = fixture.AddRandomSequence(20);
    // A prompt from its start, a later chunk, a decode row and a single-token prompt in one call.
    const int one = fixture.AddRandomSequence(1);
    SCOPED_TRACE("head_dim " + std::to_string(shape.head_dim) + ", kv heads " + std::to_string(shape.num_kv_heads));
    ExpectNearReference(fixture, {{a, 0, 70}, {b, 268, 12}, {c, 19, 1}, {one, 0, 1}}, 2);
  }
}

TEST_P(AttentionTest, WindowsAndSoftCapsEqualReference) {
  uint32_t seed = 200;
  for (const Shape& shape : Shapes()) {
    PagedFixture fixture(shape, dtype(), seed++);
    const int a = fixture.AddRandomSequence(90);
    const int b = fixture.AddRandomSequence(700);
    const int c = fixture.AddRandomSequence(1);
    SCOPED_TRACE("head_dim " + std::to_string(shape.head_dim) + ", kv heads " + std::to_string(shape.num_kv_heads));
    for (const Variant& variant : {Variant{2.5f, 0, false}, Variant{0, 1, false}, Variant{0, 16, false}, Variant{0, 16, true},
                                   Variant{2.5f, 300, true}, Variant{50, 1000, true}}) {
      SCOPED_TRACE("soft cap " + std::to_string(variant.soft_cap) + ", window " + std::to_string(variant.window));
      ExpectNearReference(fixture, {{a, 0, 90}, {b, 660, 40}, {b, 699, 1}, {c, 0, 1}}, 2, variant);
    }
  }
}

// Which pages of tokens behind the window are gone depends on how a prompt was cut into steps; the result must not.
TEST_P(AttentionTest, FreedPagesDoNotChangeAResult) {
  for (const Shape& shape : {Shapes()[1], Shapes()[4], Shapes()[6], Shapes()[10]}) {
    PagedFixture fixture(shape, dtype(), 11);
    const int s = fixture.AddRandomSequence(kInvarianceTokens);
    const int64_t width = int64_t{shape.num_query_heads} * shape.head_dim;
    const std::vector<float> query = fixture.RandomFloats(kInvarianceTokens * width);
    for (const int32_t window : {20, 200}) {
      const std::vector<float> whole =
          AttentionCall(fixture, {{s, 0, kInvarianceTokens}}, {query.data()}, {30, window, false}).RunCpu(1);
      for (const int64_t chunk : {int64_t{1}, int64_t{37}, int64_t{256}}) {
        std::vector<float> joined;
        for (int64_t first = 0; first < kInvarianceTokens; first += chunk) {
          const int64_t count = std::min(chunk, kInvarianceTokens - first);
          const std::vector<float> part =
              AttentionCall(fixture, {{s, first, count}}, {query.data() + first * width}, {30, window, true}).RunCpu(2);
          joined.insert(joined.end(), part.begin(), part.end());
        }
        EXPECT_EQ(whole, joined) << "window " << window << ", chunks of " << chunk;
      }
    }
  }
}

TEST_P(AttentionTest, ResultOfARowDoesNotDependOnCompanyThreadsOrChunks) {
  for (const Shape& shape : {Shapes()[1], Shapes()[4], Shapes()[6], Shapes()[10]}) {
    PagedFixture fixture(shape, dtype(), 7);
    constexpr int64_t kTokens = kInvarianceTokens;
    const int64_t width = int64_t{shape.num_query_heads} * shape.head_dim;
    const int main = fixture.AddRandomSequence(kTokens);
    const std::vector<float> query = fixture.RandomFloats(kTokens * width);
    const int other = fixture.AddRandomSequence(700);
    const std::vector<float> other_query = fixture.RandomFloats(700 * width);
    const std::vector<float> whole = AttentionCall(fixture, {{main, 0, kTokens}}, {query.data()}).RunCpu(1);

    for (const int threads : {2, 3}) {
      EXPECT_EQ(whole, AttentionCall(fixture, {{main, 0, kTokens}}, {query.data()}).RunCpu(threads));
    }
    for (const int64_t chunk : {int64_t{7}, int64_t{64}, int64_t{256}, int64_t{500}}) {
      std::vector<float> joined;
      for (int64_t first = 0; first < kTokens; first += chunk) {
        const int64_t count = std::min(chunk, kTokens - first);
        const std::vector<float> part =
            AttentionCall(fixture, {{main, first, count}}, {query.data() + first * width}).RunCpu(2);
        joined.insert(joined.end(), part.begin(), part.end());
      }
      EXPECT_EQ(whole, joined) << "chunks of " << chunk;
    }
    // One row at a time, as in decode, alone and among others; many threads force the parts apart.
    for (const int64_t t : {int64_t{0}, int64_t{1}, int64_t{63}, int64_t{280}, kTokens - 1}) {
      const std::vector<float> expected(whole.begin() + t * width, whole.begin() + (t + 1) * width);
      for (const int threads : {1, 2, 8}) {
        EXPECT_EQ(expected, AttentionCall(fixture, {{main, t, 1}}, {query.data() + t * width}).RunCpu(threads));
      }
      std::vector<float> together =
          AttentionCall(fixture, {{other, 699, 1}, {main, t, 1}, {other, 100, 40}},
                        {other_query.data(), query.data() + t * width, other_query.data() + 5 * width})
              .RunCpu(2);
      EXPECT_EQ(expected, std::vector<float>(together.begin() + width, together.begin() + 2 * width)) << "row " << t;
    }
  }
}

TEST_P(AttentionTest, LongDecodeSplitOverThreadsIsTheSame) {
  PagedFixture fixture({8, 4, 64, {1, 2, 4}, 8}, dtype(), 9);
  const int s = fixture.AddRandomSequence(kLongTokens);
  const std::vector<float> query = fixture.RandomFloats(8 * 64);
  const std::vector<float> alone = AttentionCall(fixture, {{s, kLongTokens - 1, 1}}, {query.data()}).RunCpu(1);
  for (const int threads : {2, 3, 7}) {
    EXPECT_EQ(alone, AttentionCall(fixture, {{s, kLongTokens - 1, 1}}, {query.data()}).RunCpu(threads));
  }
  ExpectNearReference(fixture, {{s, kLongTokens - 1, 1}}, 2);
}

TEST_P(AttentionTest, EqualValuesComeBackUnchangedAndExtremeScoresAreFinite) {
  // A softmax-weighted mean of equal values is that value, whatever the weights' rounding; huge scores must not overflow.
  PagedFixture fixture({4, 2, 16, {1, 2}, 4}, dtype(), 21);
  const int s = fixture.AddSequenceWithCounts({300, 40});
  const KvLayout& layout = fixture.layout();
  for (const KvSlot& slot : fixture.sequence(s).slots) {
    for (int64_t head = 0; head < layout.stored_heads(slot.expert); ++head) {
      for (int64_t i = 0; i < layout.head_dim; ++i) {
        const int64_t element = layout.value_offset(slot.expert) +
                                (head * layout.slots_per_page[slot.expert] + slot.slot) * layout.head_dim + i;
        uint8_t* at = fixture.pool() + slot.page * layout.page_bytes + element * SizeOf(layout.dtype);
        const float value = 0.75f;
        const uint16_t half = ToBF16(value);
        std::memcpy(at, layout.dtype == DType::kF32 ? static_cast<const void*>(&value) : &half, SizeOf(layout.dtype));
      }
    }
  }
  std::vector<float> query = fixture.RandomFloats(4 * 16);
  for (float& q : query) q *= 1e4f;
  for (const float value : AttentionCall(fixture, {{s, 339, 1}}, {query.data()}).RunCpu(2)) EXPECT_NEAR(value, 0.75f, 1e-5f);
}

TEST_P(AttentionTest, NoSequencesIsNoWork) {
  PagedFixture fixture(Shapes()[0], dtype(), 3);
  EXPECT_TRUE(AttentionCall(fixture, {}, {}).RunCpu(2).empty());
}

INSTANTIATE_TEST_SUITE_P(Levels, AttentionTest,
                         testing::Combine(testing::Range(0, cpu::kNumCpuLevels), testing::Values(DType::kF32, DType::kBF16)),
                         [](const testing::TestParamInfo<std::tuple<int, DType>>& info) {
                           return std::string(cpu::Name(static_cast<CpuLevel>(std::get<0>(info.param)))) + "_" +
                                  Name(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace ration::kernels
