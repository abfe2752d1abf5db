// The methods of strings, dicts and the loop object.
// Layer: engine/chat/jinja. Stateless; results are counted in the budget.
#ifndef RATION_ENGINE_CHAT_JINJA_METHODS_H_
#define RATION_ENGINE_CHAT_JINJA_METHODS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/arguments.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

// Whether `value` has a method of that name here. InvalidArgument, by name, if Python has it and this does not.
absl::StatusOr<bool> HasMethod(const Value& value, absl::string_view name);

// REQUIRES: HasMethod(receiver, name) is true.
absl::StatusOr<Value> CallMethod(const Value& receiver, absl::string_view name, const Arguments& arguments,
                                 RenderBudget& budget);

// str.replace(): `count` occurrences at most, all if negative.
absl::StatusOr<Value> ReplaceText(absl::string_view text, absl::string_view from, absl::string_view to, int64_t count,
                                  RenderBudget& budget);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_METHODS_H_
