// Between the control API's messages and the engine's terms. Checks what only the wire has (presence, enum values, text of ratios);
// ranges that depend on what is in force are the engine's to check, with the same field names.
// Layer: server. Stateless; thread-safe.
#ifndef RATION_SERVER_CONTROL_CONVERSION_H_
#define RATION_SERVER_CONTROL_CONVERSION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/budget/control.h"
#include "engine/engine_stats.h"
#include "engine/router/expert_spec.h"
#include "proto/control.pb.h"

namespace ration {

// InvalidArgument names the field, what is allowed and the value.
absl::StatusOr<absl::Duration> WatchInterval(const v1::WatchStateRequest& request);
absl::StatusOr<Ratio> ToRatio(const v1::SetRatioRequest& request, const ExpertSpec& experts);
absl::StatusOr<PolicyChange> ToPolicyChange(const v1::SetPolicyRequest& request, const ExpertSpec& experts);
// Absent: no limit.
absl::StatusOr<absl::Duration> DrainTimeout(const v1::DrainRequest& request);

// Every field set.
v1::Policy ToProto(const Policy& policy);

// What the state shows beside the engine's numbers.
struct StateFacts {
  ExpertSpec experts;
  std::vector<int64_t> bytes_per_token;  // of each expert, in all layers; may be empty: not known
  double uptime_seconds = 0;
  bool draining = false;
  int64_t resident_bytes = 0;
};
v1::ServerState ToProto(const EngineStats& stats, const StateFacts& facts);

v1::SetBudgetResponse ToProto(const BudgetResult& result, int64_t num_layers);

}  // namespace ration

#endif  // RATION_SERVER_CONTROL_CONVERSION_H_
