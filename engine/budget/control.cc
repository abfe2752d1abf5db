#include "engine/budget/control.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace ration {
namespace {

constexpr char kSmallestBudgetUrl[] = "ration/smallest-budget-bytes";

}  // namespace

absl::Status WithSmallestBudget(absl::Status status, int64_t bytes) {
  status.SetPayload(kSmallestBudgetUrl, absl::Cord(absl::StrCat(bytes)));
  return status;
}

std::optional<int64_t> SmallestBudgetOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kSmallestBudgetUrl);
  int64_t bytes = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &bytes)) return std::nullopt;
  return bytes;
}

}  // namespace ration
