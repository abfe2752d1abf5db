// tokenizer.json's "normalizer": what is done to a text before it is cut into tokens.
// Layer: engine/tokenizer. Pure functions; thread-safe. Reading the file is tokenizer_json's work.
#ifndef RATION_ENGINE_TOKENIZER_NORMALIZER_H_
#define RATION_ENGINE_TOKENIZER_NORMALIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/regex.h"

namespace ration {

struct NormalizerStep {
  enum class Kind { kPrepend, kReplace, kStrip, kNfc, kNfd, kNfkc, kNfkd, kLowercase };
  Kind kind = Kind::kPrepend;
  std::string pattern;                 // kReplace: not empty; every occurrence, from the left, becomes `content`
  std::shared_ptr<const Regex> regex;  // kReplace: if there is one, its matches do so instead; it never matches nothing
  std::string content;                 // kPrepend, kReplace
  bool strip_left = false, strip_right = false;  // kStrip
};

// Applies the steps in order. InvalidArgument if a regular expression needs more than `budget`. REQUIRES: `text` is
// valid UTF-8; so is the result. An empty text stays empty.
absl::StatusOr<std::string> Normalize(const std::vector<NormalizerStep>& steps, absl::string_view text,
                                      RegexBudget& budget);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_NORMALIZER_H_
