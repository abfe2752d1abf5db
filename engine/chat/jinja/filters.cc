#include "engine/chat/jinja/filters.h"

namespace ration::jinja {

const FilterEntry* FindFilter(absl::string_view name) {
  for (const absl::Span<const FilterEntry> filters : {internal::TextFilters(), internal::SequenceFilters()}) {
    for (const FilterEntry& entry : filters) {
      if (entry.name == name) return &entry;
    }
  }
  return nullptr;
}

}  // namespace ration::jinja
