// Marks an error as one that goes away by waiting, with how long. The engine sets it where it knows; the server passes it on in
// its own protocol. An error without a hint does not get better by itself.
// Layer: engine/base. Stateless; thread-safe.
#ifndef RATION_ENGINE_BASE_RETRY_HINT_H_
#define RATION_ENGINE_BASE_RETRY_HINT_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ration {

// `status` with the hint added; an OK status stays as it is. REQUIRES: after >= 0.
absl::Status WithRetryHint(absl::Status status, absl::Duration after);

// The hint of WithRetryHint, if there is one.
std::optional<absl::Duration> RetryHint(const absl::Status& status);

}  // namespace ration

#endif  // RATION_ENGINE_BASE_RETRY_HINT_H_
