// Python's operators over values, and access to elements and attributes as Jinja does it.
// Layer: engine/chat/jinja. Stateless; results are counted in the budget. Errors are InvalidArgument without a
// position.
#ifndef RATION_ENGINE_CHAT_JINJA_OPERATORS_H_
#define RATION_ENGINE_CHAT_JINJA_OPERATORS_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/ast.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

// REQUIRES: an arithmetic operator.
absl::StatusOr<Value> Arithmetic(Operator op, const Value& left, const Value& right, RenderBudget& budget);
// +value or -value.
absl::StatusOr<Value> Signed(bool negative, const Value& value);
// REQUIRES: a comparison, in or not in.
absl::StatusOr<bool> Compare(Operator op, const Value& left, const Value& right, RenderBudget& budget);
// Below zero, zero or above it as left is less, equal or greater; an error for values without an order between them.
absl::StatusOr<int> Order(const Value& left, const Value& right, RenderBudget& budget);

// value.name: a method, else an element. Undefined if there is none; an error on an undefined value.
absl::StatusOr<Value> GetAttribute(const Value& value, const std::string& name, RenderBudget& budget);
// value[key]: an element, else a method.
absl::StatusOr<Value> GetItem(const Value& value, const Value& key, RenderBudget& budget);
// value[start:stop:step]; none is an absent bound.
absl::StatusOr<Value> Slice(const Value& value, const Value& start, const Value& stop, const Value& step,
                            RenderBudget& budget);

// The elements that a for statement would go through: of a list, a dict's keys, a string's characters, nothing for
// undefined.
absl::StatusOr<std::shared_ptr<const List>> Elements(const Value& value, RenderBudget& budget);
// len(). An error for what has none.
absl::StatusOr<int64_t> Length(const Value& value, RenderBudget& budget);

// The error that a use of an undefined value is.
absl::Status UndefinedError(const Value& value);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_OPERATORS_H_
