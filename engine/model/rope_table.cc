#include "engine/model/rope_table.h"

#include <cmath>

namespace ration {

std::vector<double> RopeFrequencies(const ModelConfig& config) {
  constexpr double kPi = 3.14159265358979323846;
  const int64_t pairs = config.head_dim / 2;
  std::vector<double> frequencies(pairs);
  for (int64_t i = 0; i < pairs; ++i) {
    frequencies[i] = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
  }
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.type == RopeScaling::Type::kLinear) {
    for (double& frequency : frequencies) frequency /= scaling.factor;
  }
  if (scaling.type == RopeScaling::Type::kLlama3) {
    // Long wavelengths are slowed by `factor`, short ones kept, those between interpolated.
    const double context = static_cast<double>(scaling.original_max_position_embeddings);
    for (double& frequency : frequencies) {
      const double wavelength = 2 * kPi / frequency;
      if (wavelength > context / scaling.low_freq_factor) {
        frequency /= scaling.factor;
      } else if (wavelength >= context / scaling.high_freq_factor) {
        const double smooth = (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency = (1 - smooth) * frequency / scaling.factor + smooth * frequency;
      }
    }
  }
  return frequencies;
}

RopeTable::RopeTable(const ModelConfig& config) {
  const std::vector<double> frequencies = RopeFrequencies(config);
  const size_t pairs = frequencies.size();
  cos_.resize(static_cast<size_t>(config.max_positions) * pairs);
  sin_.resize(cos_.size());
  for (int64_t position = 0; position < config.max_positions; ++position) {
    for (size_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(position) * frequencies[i];
      cos_[static_cast<size_t>(position) * pairs + i] = static_cast<float>(std::cos(angle));
      sin_[static_cast<size_t>(position) * pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace ration
