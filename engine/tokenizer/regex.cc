// See regex.h.
#include "engine/tokenizer/regex.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/regex_syntax.h"
#include "engine/tokenizer/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace ration {
namespace {

constexpr size_t kMaxPatternBytes = 16 << 10;
constexpr uint32_t kMaxNesting = 100;
constexpr uint32_t kMaxSteps = 10'000'000;     // of one match at one place; PCRE2's default
constexpr uint32_t kMaxHeapKib = 64 << 10;     // of the interpreter's backtracking
constexpr size_t kMaxJitStackBytes = 8 << 20;  // of the compiled code's
// A search looks for a match's beginning in so many bytes of text at most before the time is looked at; fewer in a
// longer text, where each beginning may read more.
constexpr size_t kMaxBeginnings = 4096;
constexpr size_t kBytesBetweenLooks = 64 << 20;

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// What PCRE2 needs for matching, once a thread.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, kMaxJitStackBytes, nullptr);

  Scratch() {
    if (context == nullptr) return;
    pcre2_set_match_limit(context, kMaxSteps);
    pcre2_set_heap_limit(context, kMaxHeapKib);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

std::string ErrorText(int error) {
  PCRE2_UCHAR text[128];
  if (pcre2_get_error_message(error, text, sizeof(text)) < 0) return absl::StrCat("PCRE2 error ", error);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

RegexBudget::RegexBudget(double seconds)
    : end_(ThreadSeconds() + seconds), next_look_(std::chrono::steady_clock::now()) {}

bool RegexBudget::Left() {
  const auto now = std::chrono::steady_clock::now();
  if (spent_ || now < next_look_) return !spent_;
  next_look_ = now + std::chrono::milliseconds(50);
  spent_ = ThreadSeconds() >= end_;
  return !spent_;
}

struct Regex::Code {
  pcre2_code* pcre2;
};

void Regex::FreeCode::operator()(Code* code) const {
  pcre2_code_free(code->pcre2);
  delete code;
}

absl::StatusOr<Regex> Regex::Compile(absl::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a regular expression of ", pattern.size(), " bytes; the limit is ", kMaxPatternBytes));
  }
  const auto explain = [&](const absl::Status& status) {
    return absl::Status(status.code(),
                        absl::StrCat("the regular expression ", Quoted(pattern), ": ", status.message()));
  };
  const absl::StatusOr<std::string> translated = TranslateRegex(pattern);
  if (!translated.ok()) return explain(translated.status());

  std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context == nullptr) return absl::ResourceExhaustedError("no memory for a regular expression");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                                       PCRE2_NO_AUTO_CAPTURE | PCRE2_USE_OFFSET_LIMIT,
                                   &error, &offset, context.get());
  if (code == nullptr) return explain(absl::InvalidArgumentError(ErrorText(error)));
  Regex regex;
  regex.code_.reset(new Code{code});
  uint32_t may_match_empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &may_match_empty);
  pcre2_pattern_info(code, PCRE2_INFO_MINLENGTH, &regex.min_length_);
  regex.may_match_empty_ = may_match_empty != 0 || regex.min_length_ == 0;
  // Where the system allows no code to be generated, PCRE2 interprets.
  regex.jit_ = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

absl::Status Regex::Split(absl::string_view text, RegexBudget& budget, PartSink sink) const {
  thread_local Scratch scratch;
  if (scratch.data == nullptr || scratch.context == nullptr) {
    return absl::ResourceExhaustedError("no memory to match a regular expression");
  }
  const size_t beginnings =
      std::clamp<size_t>(kBytesBetweenLooks / std::max<size_t>(text.size(), 1), 1, kMaxBeginnings);
  const PCRE2_SIZE* match = pcre2_get_ovector_pointer(scratch.data);
  size_t done = 0;           // everything before went to the sink
  size_t from = 0;           // where the search goes on
  bool after_match = false;  // a match ended at `done`
  while (from <= text.size()) {
    if (!budget.Left()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a regular expression needs more than ", RegexBudget::kMaxSeconds, " seconds for the text"));
    }
    const size_t last_beginning = std::min(text.size(), from + beginnings);
    pcre2_set_offset_limit(scratch.context, last_beginning);
    const int result = pcre2_match(code_->pcre2, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                   PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
    if (result == PCRE2_ERROR_NOMATCH) {
      if (last_beginning == text.size()) break;
      from = last_beginning;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) ++from;
      continue;
    }
    if (result < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("a regular expression fails at byte ", from, " of the text: ", ErrorText(result)));
    }
    const size_t begin = match[0], end = match[1];
    if (begin == end && after_match && begin == done) {
      if (from == text.size()) break;
      from += static_cast<size_t>(Utf8CharLength(text.substr(from)));
      continue;
    }
    if (begin > done) RATION_RETURN_IF_ERROR(sink(text.substr(done, begin - done), false));
    RATION_RETURN_IF_ERROR(sink(text.substr(begin, end - begin), true));
    // The sink may have run another Regex, and with it the scratch: nothing is read from `match` after it.
    done = end;
    from = end;
    after_match = true;
  }
  if (done < text.size()) RATION_RETURN_IF_ERROR(sink(text.substr(done), false));
  return absl::OkStatus();
}

}  // namespace ration
