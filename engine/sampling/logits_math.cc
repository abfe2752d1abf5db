#include "engine/sampling/logits_math.h"

#include <cstring>
#include <limits>

namespace ration {
namespace {

// Sums and maxima run in kLanes independent lanes, element i in lane i mod kLanes: the order does not depend on the vector
// width the compiler picks. 16 floats are one AVX-512 register or four of SSE2.
constexpr int64_t kLanes = 16;

// Elements whose weights PrefixSearch sums before it looks where the target is.
constexpr int64_t kSearchBlock = 512;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

inline float ExpInline(float x) {
  // e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2. Adding 1.5 * 2^23 rounds to an integer without SSE4.1.
  constexpr float kRound = 12582912.0f;
  constexpr float kLog2E = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;  // few bits: n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  const float clamped = x < -87.0f ? -87.0f : x;
  const float shifted = clamped * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  // Taylor to r^7: the remainder is below 6e-9 of the result for |r| <= 0.347.
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // The low bits of `shifted` hold n; multiplying by 2^n is adding n to the exponent.
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  const int32_t exponent = (bits - 0x4B400000 + 127) << 23;
  float scale;
  std::memcpy(&scale, &exponent, sizeof(scale));
  return x < -87.0f ? 0.0f : p * scale;
}

inline void AddLanes(const float* values, int64_t count, double (&lanes)[kLanes]) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += values[i + l];
  }
  for (; i < count; ++i) lanes[i % kLanes] += values[i];
}

double SumLanes(const double (&lanes)[kLanes]) {
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

}  // namespace

float ExpNonPositive(float x) { return ExpInline(x); }

float MaxLogit(absl::Span<const float> logits) {
  const float* p = logits.data();
  const int64_t n = static_cast<int64_t>(logits.size());
  float lanes[kLanes];
  for (float& lane : lanes) lane = kMinusInfinity;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = p[i + l] > lanes[l] ? p[i + l] : lanes[l];  // false for NaN
  }
  float max = kMinusInfinity;
  for (float lane : lanes) max = lane > max ? lane : max;
  for (; i < n; ++i) max = p[i] > max ? p[i] : max;
  return CleanLogit(max);
}

int64_t ArgMaxLogit(absl::Span<const float> logits) {
  // Block by block: the maximum of a block in vector code, then, only if it beats all before, where it is. Reads memory once.
  constexpr size_t kBlock = 1024;
  if (logits.empty()) return -1;
  float best = kMinusInfinity;
  size_t best_block = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const float max = MaxLogit(logits.subspan(begin, kBlock));
    if (max > best) {
      best = max;
      best_block = begin;
    }
  }
  if (best == kMinusInfinity) return 0;
  for (size_t i = best_block; i < logits.size(); ++i) {
    if (CleanLogit(logits[i]) == best) return static_cast<int64_t>(i);
  }
  return 0;
}

double ExpWeights(absl::Span<const float> logits, float max, float temperature, absl::Span<float> weights) {
  constexpr int64_t kBlock = 1024;  // stays in the first-level cache between the two loops; a multiple of kLanes
  const int64_t n = static_cast<int64_t>(logits.size());
  double lanes[kLanes] = {};
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = n - begin < kBlock ? n - begin : kBlock;
    const float* in = logits.data() + begin;
    float* out = weights.data() + begin;
    for (int64_t i = 0; i < count; ++i) out[i] = ExpInline((CleanLogit(in[i]) - max) / temperature);
    AddLanes(out, count, lanes);
  }
  return SumLanes(lanes);
}

double SumExp(absl::Span<const float> logits, float max) {
  constexpr size_t kBlock = 1024;
  float weights[kBlock];
  double sum = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const absl::Span<const float> block = logits.subspan(begin, kBlock);
    sum += ExpWeights(block, max, 1.0f, absl::MakeSpan(weights, block.size()));
  }
  return sum;
}

int64_t PrefixSearch(absl::Span<const float> weights, double target) {
  const int64_t n = static_cast<int64_t>(weights.size());
  // The block the target lies in, or the last one with any weight if rounding put the target beyond the end.
  int64_t block = -1;
  double before_block = 0;
  double before = 0;
  for (int64_t begin = 0; begin < n && before <= target; begin += kSearchBlock) {
    const int64_t end = begin + kSearchBlock < n ? begin + kSearchBlock : n;
    double lanes[kLanes] = {};
    AddLanes(weights.data() + begin, end - begin, lanes);
    const double sum = SumLanes(lanes);
    if (sum > 0) {
      block = begin;
      before_block = before;
    }
    before += sum;
  }
  if (block < 0) return -1;

  const int64_t end = block + kSearchBlock < n ? block + kSearchBlock : n;
  int64_t last_positive = block;
  double sum = before_block;
  for (int64_t i = block; i < end; ++i) {
    if (weights[i] <= 0) continue;
    sum += weights[i];
    if (sum > target) return i;
    last_positive = i;
  }
  return last_positive;
}

}  // namespace ration
