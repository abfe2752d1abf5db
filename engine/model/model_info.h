// What the engine and the server need to know of a model; the rest is the model's business.
// Layer: engine/model. Plain data, free of LibTorch so that whoever includes it need not compile against it.
#ifndef RATION_ENGINE_MODEL_MODEL_INFO_H_
#define RATION_ENGINE_MODEL_MODEL_INFO_H_

#include <cstdint>

#include "engine/router/expert_spec.h"

namespace ration {

struct ModelInfo {
  int64_t num_layers = 0;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;   // context length, tokens
  int64_t routing_window = 1;  // tokens
  ExpertSpec experts;
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_MODEL_INFO_H_
