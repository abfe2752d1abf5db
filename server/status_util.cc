#include "server/status_util.h"

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "engine/base/retry_hint.h"
#include "engine/budget/control.h"
#include "proto/control.pb.h"
#include "proto/google/rpc/status.pb.h"

namespace ration {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(static_cast<int>(status.code()));
  const std::string message(status.message());
  const std::optional<absl::Duration> retry_after = RetryHint(status);
  const std::optional<int64_t> smallest_budget = SmallestBudgetOf(status);
  if (!retry_after.has_value() && !smallest_budget.has_value()) return grpc::Status(code, message);

  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  if (retry_after.has_value()) {
    google::rpc::RetryInfo retry_info;
    absl::Duration fraction;
    retry_info.mutable_retry_delay()->set_seconds(absl::IDivDuration(*retry_after, absl::Seconds(1), &fraction));
    retry_info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(fraction)));
    details.add_details()->PackFrom(retry_info);
  }
  if (smallest_budget.has_value()) {
    v1::BudgetFloor floor;
    floor.set_smallest_budget_bytes(*smallest_budget);
    details.add_details()->PackFrom(floor);
  }
  return grpc::Status(code, message, details.SerializeAsString());
}

}  // namespace ration
