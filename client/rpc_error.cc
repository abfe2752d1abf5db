#include "client/rpc_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "proto/control.pb.h"
#include "proto/google/rpc/status.pb.h"

namespace ration {
namespace {

constexpr absl::string_view kRetryInfoType = "type.googleapis.com/google.rpc.RetryInfo";
constexpr absl::string_view kBudgetFloorType = "type.googleapis.com/ration.v1.BudgetFloor";

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) {
      if (detail.Is<google::rpc::RetryInfo>()) result.SetPayload(kRetryInfoType, absl::Cord(detail.value()));
      if (detail.Is<v1::BudgetFloor>()) result.SetPayload(kBudgetFloorType, absl::Cord(detail.value()));
    }
  }
  return result;
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryInfoType);
  google::rpc::RetryInfo info;
  if (!payload.has_value() || !info.ParseFromString(std::string(*payload))) return std::nullopt;
  return absl::Seconds(info.retry_delay().seconds()) + absl::Nanoseconds(info.retry_delay().nanos());
}

std::optional<int64_t> SmallestBudget(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kBudgetFloorType);
  v1::BudgetFloor floor;
  if (!payload.has_value() || !floor.ParseFromString(std::string(*payload))) return std::nullopt;
  return floor.smallest_budget_bytes();
}

std::string DescribeError(const absl::Status& status) {
  std::string text = absl::StatusCodeToString(status.code());
  if (!status.message().empty()) absl::StrAppend(&text, ": ", status.message());
  if (const std::optional<absl::Duration> delay = RetryDelay(status)) {
    absl::StrAppend(&text, " (try again in ", absl::FormatDuration(*delay), ")");
  }
  return text;
}

}  // namespace ration
