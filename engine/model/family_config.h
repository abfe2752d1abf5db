// The families' own parts of config.json: each has its names for the shapes, its defaults and its own fields.
// Layer: engine/model (private to model_config).
#ifndef RATION_ENGINE_MODEL_FAMILY_CONFIG_H_
#define RATION_ENGINE_MODEL_FAMILY_CONFIG_H_

#include <cstdint>

#include "absl/status/status.h"
#include "engine/model/json_fields.h"
#include "engine/model/model_config.h"

namespace ration {

// Fills in everything but the architecture, token ids and "mixsga". Errors as ParseModelConfig.
absl::Status ParseLlamaConfig(const JsonFields& fields, ModelConfig& config);
absl::Status ParseOptConfig(const JsonFields& fields, ModelConfig& config);
absl::Status ParseGemma2Config(const JsonFields& fields, ModelConfig& config);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_FAMILY_CONFIG_H_
