// Early return on a failed absl::Status or absl::StatusOr.
#ifndef RATION_ENGINE_BASE_STATUS_MACROS_H_
#define RATION_ENGINE_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RATION_RETURN_IF_ERROR(expression)                        \
  do {                                                            \
    if (absl::Status ration_status_ = (expression); !ration_status_.ok()) return ration_status_; \
  } while (false)

#define RATION_STATUS_CONCAT_INNER_(a, b) a##b
#define RATION_STATUS_CONCAT_(a, b) RATION_STATUS_CONCAT_INNER_(a, b)
#define RATION_ASSIGN_OR_RETURN(target, expression) \
  RATION_ASSIGN_OR_RETURN_(RATION_STATUS_CONCAT_(ration_statusor_, __LINE__), target, expression)
#define RATION_ASSIGN_OR_RETURN_(statusor, target, expression) \
  auto statusor = (expression);                                \
  if (!statusor.ok()) return std::move(statusor).status();     \
  target = *std::move(statusor)

#endif  // RATION_ENGINE_BASE_STATUS_MACROS_H_
