// Decides when a sequence ends and how much of its text may be shown: holds back text that could be the start of a stop string.
// Layer: engine/sampling. One a sequence; thread-compatible.
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

  // Tokens that must not be sampled now: end-of-text and stop tokens while fewer than min_new_tokens were generated.
  const std::vector<int32_t>& ForbiddenTokens(int64_t generated_tokens) const;

  // Whether `token` ends the sequence (end-of-text or a stop token).
  bool IsStopToken(int32_t token) const;

  // Adds new text (of one token; may be empty) and returns what may be shown: whole UTF-8 characters that cannot belong to a
  // stop string any more. After a match, matched() is set and the rest of the text, and unless include_stop_string the stop
  // string itself, is dropped. Matches that end before min_new_tokens are not stops: `may_stop` says whether this token counts.
  std::string Append(absl::string_view text, bool may_stop);
  // What was held back, when the sequence ends for another reason.
  std::string Flush();

  const std::optional<std::string>& matched() const { return matched_; }

 private:
  const StoppingParams params_;
  std::vector<int32_t> stop_tokens_;  // ascending
  std::vector<int32_t> none_;
  std::string held_;
  std::optional<std::string> matched_;
};

}  // namespace ration

#endif  // RATION_ENGINE_SAMPLING_STOP_CHECKER_H_
