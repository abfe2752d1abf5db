#include "tools/train/rope.h"

#include <cmath>
#include <vector>

namespace ration {
namespace {

constexpr double kPi = 3.14159265358979323846;

double Llama3Frequency(const RopeRule& rule, double frequency) {
  const double turns = rule.original_positions * frequency / (2 * kPi);  // over the original context
  if (turns < rule.low_freq_factor) return frequency / rule.factor;
  if (turns >= rule.high_freq_factor) return frequency;
  const double keep = (turns - rule.low_freq_factor) / (rule.high_freq_factor - rule.low_freq_factor);
  return frequency * (keep + (1 - keep) / rule.factor);
}

}  // namespace

at::Tensor RopeAngles(const RopeRule& rule, int64_t head_dim, int64_t length) {
  double theta = rule.theta;
  if (rule.type == RopeRule::Type::kDynamic && length > rule.original_positions) {
    const double stretch = rule.factor * length / rule.original_positions - (rule.factor - 1);
    theta *= std::pow(stretch, static_cast<double>(head_dim) / (head_dim - 2));
  }
  at::Tensor frequencies = at::empty({head_dim / 2}, at::kFloat);
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    double frequency = 1.0 / std::pow(theta, 2.0 * static_cast<double>(i) / head_dim);
    if (rule.type == RopeRule::Type::kLinear) frequency /= rule.factor;
    if (rule.type == RopeRule::Type::kLlama3) frequency = Llama3Frequency(rule, frequency);
    frequencies[i] = static_cast<float>(frequency);
  }
  return at::outer(at::arange(length, at::kFloat), frequencies);
}

at::Tensor Rotate(const at::Tensor& x, const at::Tensor& angles) {
  const at::Tensor cos = angles.cos().unsqueeze(1), sin = angles.sin().unsqueeze(1);
  const std::vector<at::Tensor> half = x.chunk(2, -1);
  return at::cat({half[0] * cos - half[1] * sin, half[1] * cos + half[0] * sin}, -1);
}

}  // namespace ration
