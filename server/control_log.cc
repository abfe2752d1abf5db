#include "server/control_log.h"

#include "server/logging.h"

namespace ration {
namespace {

constexpr size_t kMaxTextBytes = 1000;  // a policy with every field and a ladder of eight ratios is shorter

}  // namespace

void ControlLog::Write(const ControlSummary& summary) const {
  const bool stranger = absl::IsUnauthenticated(summary.status) || absl::IsPermissionDenied(summary.status);
  const std::shared_ptr<spdlog::logger>& logger = stranger ? others_ : operators_;
  if (logger == nullptr) return;
  LogFields fields;
  fields["method"] = summary.method;
  if (!summary.tenant.empty()) fields["tenant"] = summary.tenant;
  fields["peer"] = summary.peer;
  if (!summary.asked.empty()) fields["asked"] = Beginning(summary.asked, kMaxTextBytes);
  fields["status"] = summary.status.ok() ? "OK" : absl::StatusCodeToString(summary.status.code());
  if (summary.epoch.has_value()) fields["epoch"] = *summary.epoch;
  if (!summary.status.ok()) fields["error"] = Beginning(std::string(summary.status.message()), kMaxTextBytes);
  LogEvent(*logger, summary.status.ok() ? spdlog::level::info : spdlog::level::warn, "control", fields);
}

}  // namespace ration
