// Reads the definitions of added tokens from JSON. Layer: engine/tokenizer. Pure functions; thread-safe.
#ifndef RATION_ENGINE_TOKENIZER_ADDED_TOKENS_JSON_H_
#define RATION_ENGINE_TOKENIZER_ADDED_TOKENS_JSON_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/vocabulary.h"

namespace ration {

// A vocabulary may have holes, but a file must not make us allocate far more than it contains: `size` ids for `tokens`.
absl::Status CheckDensity(const JsonPart& part, int64_t size, size_t tokens);

// The content and flags of `part` with the given id; checks that they agree with the model's vocabulary.
absl::StatusOr<AddedToken> ParseAddedToken(const JsonPart& part, int64_t id, const Vocabulary& vocabulary);

// tokenizer.json's "added_tokens"; none if it is missing. `root` is the whole file.
absl::StatusOr<std::vector<AddedToken>> ParseAddedTokens(const JsonPart& root, const Vocabulary& vocabulary);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_ADDED_TOKENS_JSON_H_
