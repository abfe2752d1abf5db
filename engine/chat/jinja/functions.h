// The functions that every template knows: range, namespace, dict, raise_exception, strftime_now.
// Layer: engine/chat/jinja. Stateless; results are counted in the budget.
#ifndef RATION_ENGINE_CHAT_JINJA_FUNCTIONS_H_
#define RATION_ENGINE_CHAT_JINJA_FUNCTIONS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/chat/jinja/arguments.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/runtime_objects.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

inline constexpr int64_t kMaxRange = 100'000;  // elements; the limit of Jinja's sandbox

// The function of that name as a value; undefined, which says so, if there is none.
Value FindFunction(absl::string_view name);

// REQUIRES: none of kNamespace, which the evaluator makes. Aborted with the message alone: the template raised an
// exception.
absl::StatusOr<Value> CallFunction(Function function, const Arguments& arguments, absl::Time now, RenderBudget& budget);

// strftime() in the system's time zone. InvalidArgument names a directive that is not supported.
absl::StatusOr<std::string> FormatLocalTime(absl::string_view format, absl::Time time);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_FUNCTIONS_H_
