// Decides when a sequence ends and how much of its text may be shown: holds back text that could be the start of a stop string.
// Layer: engine/sampling. One a sequence; thread-compatible.
//
// The match that ends first wins; of those that end at the same place, the longest. So where the text was cut into tokens does
// not matter. What is held back is the longest end of the text that could still become a stop string, and nothing more.
#ifndef RATION_ENGINE_SAMPLING_STOP_CHECKER_H_
#define RATION_ENGINE_SAMPLING_STOP_CHECKER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/request.h"

namespace ration {

class StopChecker {
 public:
  // `eos_token_ids` of the model; ignored if params.ignore_eos.
  StopChecker(const StoppingParams& params, std::vector<int32_t> eos_token_ids);

  // Tokens that must not be sampled now: end-of-text and stop tokens while fewer than min_new_tokens were generated. Ascending.
  const std::vector<int32_t>& ForbiddenTokens(int64_t generated_tokens) const;

  // Whether `token` ends the sequence (end-of-text or a stop token).
  bool IsStopToken(int32_t token) const;

  // Adds new text (of one token; may be empty) and returns what may be shown: whole UTF-8 characters that cannot belong to a
  // stop string any more. After a match, matched() is set and the rest of the text, and unless include_stop_string the stop
  // string itself, is dropped. Matches that end before min_new_tokens are not stops: `may_stop` says whether this token counts.
  // Cost: O(text * stop strings).
  std::string Append(absl::string_view text, bool may_stop);
  // What was held back, when the sequence ends for another reason; empty after a match. A character that is not complete
  // becomes U+FFFD.
  std::string Flush();

  const std::optional<std::string>& matched() const { return matched_; }

 private:
  // One stop string and how far the end of the text matches it (Knuth, Morris, Pratt).
  struct Pattern {
    std::string text;
    std::vector<int32_t> border;  // border[i]: length of the longest proper prefix of text[0..i] that is also its suffix
    int32_t state = 0;            // bytes of `text` that the text so far ends with; < text.size() between calls
  };
  // Takes one byte; true if the text now ends with the pattern.
  static bool Advance(Pattern& pattern, char byte);

  const int64_t min_new_tokens_;
  const bool include_stop_string_;
  std::vector<int32_t> stop_tokens_;  // ascending
  const std::vector<int32_t> none_;
  std::vector<Pattern> patterns_;
  std::string held_;
  std::optional<std::string> matched_;
};

}  // namespace ration

#endif  // RATION_ENGINE_SAMPLING_STOP_CHECKER_H_
