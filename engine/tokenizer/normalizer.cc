// See normalizer.h.
#include "engine/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

std::string UnicodeForm(absl::string_view text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | options));
  RATION_CHECK(size >= 0);  // the text is valid, so only memory can be lacking
  std::string result(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
  std::free(mapped);
  return result;
}

// Character by character, without context: a final capital sigma becomes the ordinary small one.
std::string Lowercase(absl::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const char32_t c = FirstCodePoint(text);
    text.remove_prefix(static_cast<size_t>(Utf8CharLength(text)));
    if (c == 0x130) {  // the one character whose small form is two
      result += "i\u0307";
      continue;
    }
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t size = utf8proc_encode_char(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)), bytes);
    result.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  }
  return result;
}

absl::StatusOr<std::string> ReplaceMatches(const Regex& regex, absl::string_view content, absl::string_view text,
                                           RegexBudget& budget) {
  std::string result;
  RATION_RETURN_IF_ERROR(regex.Split(text, budget, [&](absl::string_view part, bool is_match) {
    absl::StrAppend(&result, is_match ? content : part);
    return absl::OkStatus();
  }));
  return result;
}

absl::StatusOr<std::string> ApplyStep(const NormalizerStep& step, std::string text, RegexBudget& budget) {
  switch (step.kind) {
    case NormalizerStep::Kind::kPrepend:
      return text.empty() ? text : absl::StrCat(step.content, text);
    case NormalizerStep::Kind::kReplace:
      if (step.regex != nullptr) return ReplaceMatches(*step.regex, step.content, text, budget);
      return absl::StrReplaceAll(text, {{step.pattern, step.content}});
    case NormalizerStep::Kind::kStrip: {
      absl::string_view rest = text;
      if (step.strip_left) rest = StripLeadingWhiteSpace(rest);
      if (step.strip_right) rest = StripTrailingWhiteSpace(rest);
      return std::string(rest);
    }
    case NormalizerStep::Kind::kNfc:
      return UnicodeForm(text, UTF8PROC_COMPOSE);
    case NormalizerStep::Kind::kNfd:
      return UnicodeForm(text, UTF8PROC_DECOMPOSE);
    case NormalizerStep::Kind::kNfkc:
      return UnicodeForm(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    case NormalizerStep::Kind::kNfkd:
      return UnicodeForm(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
    case NormalizerStep::Kind::kLowercase:
      return Lowercase(text);
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> Normalize(const std::vector<NormalizerStep>& steps, absl::string_view text,
                                      RegexBudget& budget) {
  std::string result(text);
  for (const NormalizerStep& step : steps) {
    RATION_ASSIGN_OR_RETURN(result, ApplyStep(step, std::move(result), budget));
  }
  return result;
}

}  // namespace ration
