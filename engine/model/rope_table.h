// Cosines and sines of rotary position embedding for every position and frequency of a model.
// Source: RoFormer (Su et al. 2021); frequency scaling as published with Llama 3.1.
// Layer: engine/model. Immutable after construction; thread-safe.
#ifndef RATION_ENGINE_MODEL_ROPE_TABLE_H_
#define RATION_ENGINE_MODEL_ROPE_TABLE_H_

#include <cstdint>
#include <vector>

#include "engine/model/model_config.h"

namespace ration {

// The angle per position of each pair of dimensions, [head_dim / 2]: theta^(-2i/d), scaled as config.rope_scaling says.
std::vector<double> RopeFrequencies(const ModelConfig& config);

class RopeTable {
 public:
  RopeTable() = default;  // empty
  // Computed in double precision, stored as float32.
  explicit RopeTable(const ModelConfig& config);

  const float* cos() const { return cos_.data(); }  // [max_positions, head_dim / 2]
  const float* sin() const { return sin_.data(); }  // [max_positions, head_dim / 2]

 private:
  std::vector<float> cos_, sin_;
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_ROPE_TABLE_H_
