// See oniguruma.h.
#include "tests/engine/tokenizer/oniguruma.h"

#include <oniguruma.h>

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"

namespace ration {

struct Oniguruma::State {
  regex_t* regex = nullptr;
  OnigRegion* region = onig_region_new();
};

Oniguruma::Oniguruma(const std::string& pattern) : state_(std::make_unique<State>()) {
  OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
  onig_initialize(encodings, 1);
  OnigErrorInfo error;
  const auto* begin = reinterpret_cast<const UChar*>(pattern.data());
  RATION_CHECK(onig_new(&state_->regex, begin, begin + pattern.size(), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                        ONIG_SYNTAX_RUBY, &error) == ONIG_NORMAL);
}

Oniguruma::~Oniguruma() {
  onig_region_free(state_->region, 1);
  onig_free(state_->regex);
}

std::string Oniguruma::Mark(const std::string& text) const {
  const auto* begin = reinterpret_cast<const UChar*>(text.data());
  const UChar* end = begin + text.size();
  const absl::string_view view = text;
  std::string marked;
  size_t done = 0;
  while (onig_search(state_->regex, begin, end, begin + done, end, state_->region, ONIG_OPTION_NONE) >= 0) {
    const auto from = static_cast<size_t>(state_->region->beg[0]), to = static_cast<size_t>(state_->region->end[0]);
    absl::StrAppend(&marked, view.substr(done, from - done), "[", view.substr(from, to - from), "]");
    done = to;
  }
  absl::StrAppend(&marked, view.substr(done));
  return marked;
}

}  // namespace ration
