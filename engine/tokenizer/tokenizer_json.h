// Reads tokenizer.json and checks all of it: what comes out can be used without further checks.
// Layer: engine/tokenizer. Pure function; thread-safe. What the parts do is in the headers they come from.
//
// "truncation" and "padding" are ignored: limits belong to the request. Unknown members are ignored, unknown types
// refused.
#ifndef RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_H_
#define RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer_spec.h"

namespace ration {

// Limits on the file, besides those of every file. The largest vocabularies in use have 262,144 ids and a file of 34 MB.
inline constexpr size_t kMaxTokenizerJsonBytes = size_t{512} << 20;
inline constexpr size_t kMaxChainSteps = 64;
// A chain of replacements may make a text this many times longer at most, so that no file turns a small text into
// gigabytes.
inline constexpr int64_t kMaxReplacementGrowth = 64;

// InvalidArgument or Unimplemented: "tokenizer.json: model.merges[17]: ...".
absl::StatusOr<TokenizerSpec> ParseTokenizerJson(absl::string_view text);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_TOKENIZER_JSON_H_
