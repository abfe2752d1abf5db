// Jinja's filters: what stands after `|`. Those over texts and numbers are in text_filters.cc, those over sequences
// in sequence_filters.cc.
// Layer: engine/chat/jinja. Stateless; results are counted in the budget.
#ifndef RATION_ENGINE_CHAT_JINJA_FILTERS_H_
#define RATION_ENGINE_CHAT_JINJA_FILTERS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/chat/jinja/arguments.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

struct FilterEntry {
  absl::string_view name;
  absl::StatusOr<Value> (*apply)(const Value& value, const Arguments& arguments, RenderBudget& budget);
};

// Nullptr if there is none.
const FilterEntry* FindFilter(absl::string_view name);

namespace internal {
absl::Span<const FilterEntry> TextFilters();
absl::Span<const FilterEntry> SequenceFilters();
}  // namespace internal

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_FILTERS_H_
