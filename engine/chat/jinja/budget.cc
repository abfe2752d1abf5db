#include "engine/chat/jinja/budget.h"

#include "absl/strings/str_cat.h"

namespace ration::jinja {

absl::Status RenderBudget::OutOfSteps() const {
  return absl::InvalidArgumentError(absl::StrCat("rendering takes more than ", limits_.steps, " steps"));
}

absl::Status RenderBudget::Fits(int64_t bytes) const {
  if (bytes <= limits_.memory_bytes - memory_bytes_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("values take more than ", limits_.memory_bytes, " bytes at once"));
}

}  // namespace ration::jinja
