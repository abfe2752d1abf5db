// Puts the regular expressions of tokenizer.json, which are Oniguruma's (Ruby's syntax), into PCRE2's words.
// Layer: engine/tokenizer. Pure function; thread-safe.
//
// The two libraries agree on most expressions, but not on all: \s, \w, \v, \p{Han}, {,3} and nested classes mean other
// things. So only what is known to mean the same in both, or can be said in PCRE2's words, passes; everything else is
// refused by name rather than matched differently. Passing: literals; . ^ $ \A \z \Z; | and groups: (...) (?:...)
// (?i:...) (?>...) (?=...) (?!...) (?<=...) (?<!...), (?i) in front; ? * + {n,m}, also lazy, also possessive where
// Oniguruma has it; \d \s \w, \p{Category} and \p{Script}, each also negated; classes, also nested ones that are not
// negated.
#ifndef RATION_ENGINE_TOKENIZER_REGEX_SYNTAX_H_
#define RATION_ENGINE_TOKENIZER_REGEX_SYNTAX_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

// The expression for PCRE2 with UTF, UCP and MULTILINE. InvalidArgument or Unimplemented says what is wrong at which
// byte. Whether it is well-formed in every other respect is for PCRE2 to say. REQUIRES: `pattern` is valid UTF-8.
absl::StatusOr<std::string> TranslateRegex(absl::string_view pattern);

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_REGEX_SYNTAX_H_
