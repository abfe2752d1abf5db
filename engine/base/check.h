// RATION_CHECK: for our own bugs only, never for input from outside. Logs file, line and message, then aborts.
#ifndef RATION_ENGINE_BASE_CHECK_H_
#define RATION_ENGINE_BASE_CHECK_H_

#include "absl/base/optimization.h"

namespace ration::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
}  // namespace ration::internal

#define RATION_CHECK(condition)                                                               \
  do {                                                                                        \
    if (ABSL_PREDICT_FALSE(!(condition))) ::ration::internal::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

#endif  // RATION_ENGINE_BASE_CHECK_H_
