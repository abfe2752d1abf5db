// The parts of tokenizer.json that are chains of steps: normalizer, pre_tokenizer, decoder. Used by tokenizer_json.cc
// alone. Layer: engine/tokenizer. Pure functions; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_CHAINS_H_
#define RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_CHAINS_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pre_tokenizer.h"

namespace ration {

// `root` is the whole file; a missing or null chain has no steps (a missing decoder joins tokens with spaces).
absl::StatusOr<std::vector<NormalizerStep>> ParseNormalizer(const JsonPart& root);
absl::StatusOr<std::vector<std::unique_ptr<PreTokenizer>>> ParsePreTokenizer(const JsonPart& root);
absl::StatusOr<std::vector<DecoderStep>> ParseDecoder(const JsonPart& root);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_CHAINS_H_
