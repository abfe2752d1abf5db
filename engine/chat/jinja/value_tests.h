// Jinja's tests: what stands after `is`.
// Layer: engine/chat/jinja. Stateless; thread-safe.
#ifndef RATION_ENGINE_CHAT_JINJA_VALUE_TESTS_H_
#define RATION_ENGINE_CHAT_JINJA_VALUE_TESTS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/arguments.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

struct TestEntry {
  absl::string_view name;
  absl::StatusOr<bool> (*apply)(const Value& value, const Arguments& arguments, RenderBudget& budget);
};

// Nullptr if there is none.
const TestEntry* FindTest(absl::string_view name);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_VALUE_TESTS_H_
