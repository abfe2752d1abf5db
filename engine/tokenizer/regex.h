// A regular expression of tokenizer.json, run by PCRE2. Both the expression and the text may be hostile: compiling is
// bounded by PCRE2's own limits, matching by memory, steps and processor time.
// Layer: engine/tokenizer. A Regex is immutable and thread-safe; a RegexBudget belongs to one thread.
#ifndef RATION_ENGINE_TOKENIZER_REGEX_H_
#define RATION_ENGINE_TOKENIZER_REGEX_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

// What all regular expressions together may spend on one text: kMaxSeconds of this thread's processor time. The
// expressions of real tokenizers read tens of megabytes a second; one that needs longer for a text is at fault.
class RegexBudget {
 public:
  static constexpr double kMaxSeconds = 10;
  explicit RegexBudget(double seconds = kMaxSeconds);
  // False once the time is spent. Cheap enough to ask before every match.
  bool Left();

 private:
  double end_;                                       // in seconds of the thread's processor time
  std::chrono::steady_clock::time_point next_look_;  // the processor's clock costs a system call: seldom
  bool spent_ = false;
};

class Regex {
 public:
  // Compiles an expression in Oniguruma's syntax (see regex_syntax.h). InvalidArgument or Unimplemented says what is
  // wrong with it. REQUIRES: `pattern` is valid UTF-8.
  static absl::StatusOr<Regex> Compile(absl::string_view pattern);

  // Called with each part of the text in order: the matches and what lies between them. No part between matches is
  // empty; a match may be. Another status than OK ends the search.
  using PartSink = absl::FunctionRef<absl::Status(absl::string_view part, bool is_match)>;

  // Cuts `text` (valid UTF-8, fewer than 2^31 bytes) at all matches, from the left, none overlapping. An empty match
  // right behind another does not count. InvalidArgument if `budget` or the limits on one match do not suffice.
  absl::Status Split(absl::string_view text, RegexBudget& budget, PartSink sink) const;

  // It may match the empty text somewhere.
  bool may_match_empty() const { return may_match_empty_; }
  // No match has fewer characters.
  uint32_t min_length() const { return min_length_; }

 private:
  struct Code;  // PCRE2's
  struct FreeCode {
    void operator()(Code* code) const;
  };

  Regex() = default;

  std::unique_ptr<Code, FreeCode> code_;
  bool jit_ = false;  // else PCRE2's interpreter runs it
  bool may_match_empty_ = false;
  uint32_t min_length_ = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_REGEX_H_
