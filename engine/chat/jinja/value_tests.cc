#include "engine/chat/jinja/value_tests.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/methods.h"
#include "engine/chat/jinja/operators.h"

namespace ration::jinja {
namespace {

using Kind = Value::Kind;

// A test of the value alone.
template <bool (*is)(const Value&)>
absl::StatusOr<bool> Alone(const Value& value, const Arguments& arguments, RenderBudget&) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  return is(value);
}

bool IsDefined(const Value& v) { return !v.is_undefined(); }
bool IsUndefined(const Value& v) { return v.is_undefined(); }
bool IsNone(const Value& v) { return v.is_none(); }
bool IsString(const Value& v) { return v.is_string(); }
bool IsNumber(const Value& v) { return v.is_number(); }
bool IsInteger(const Value& v) { return v.kind() == Kind::kInt; }
bool IsFloat(const Value& v) { return v.kind() == Kind::kFloat; }
bool IsBoolean(const Value& v) { return v.kind() == Kind::kBool; }
bool IsTrue(const Value& v) { return v.kind() == Kind::kBool && v.as_bool(); }
bool IsFalse(const Value& v) { return v.kind() == Kind::kBool && !v.as_bool(); }
bool IsMapping(const Value& v) { return v.is_dict(); }
bool IsIterable(const Value& v) { return v.is_string() || v.is_list() || v.is_dict() || v.is_undefined(); }
bool IsSequence(const Value& v) { return IsIterable(v) && !(v.is_list() && v.as_list()->form == ListForm::kLazy); }
bool IsCallable(const Value& v) { return v.kind() == Kind::kCallable; }

// value % divisor == rest.
absl::StatusOr<bool> Rest(const Value& value, const Value& divisor, int64_t rest, RenderBudget& budget) {
  if (value.is_string()) return absl::InvalidArgumentError("a string is no number to divide");
  RATION_ASSIGN_OR_RETURN(const Value remainder, Arithmetic(Operator::kModulo, value, divisor, budget));
  return Equal(remainder, Value(rest), budget);
}
absl::StatusOr<bool> IsOdd(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  return Rest(value, Value(int64_t{2}), 1, budget);
}
absl::StatusOr<bool> IsEven(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  return Rest(value, Value(int64_t{2}), 0, budget);
}
absl::StatusOr<bool> IsDivisibleBy(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"num"}, 1));
  return Rest(value, bound[0], 0, budget);
}

template <Operator op>
absl::StatusOr<bool> Compared(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"other"}, 1));
  return Compare(op, value, bound[0], budget);
}

// Python's `is`, as far as it is used: the constants none, true and false.
absl::StatusOr<bool> IsSameAs(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"other"}, 1));
  if (!bound[0].is_none() && bound[0].kind() != Kind::kBool) {
    return absl::InvalidArgumentError("sameas of anything but none, true and false is not supported");
  }
  if (value.kind() != bound[0].kind()) return false;
  return Equal(value, bound[0], budget);
}

template <bool upper>
absl::StatusOr<bool> IsInCase(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  if (!value.is_string())
    return absl::InvalidArgumentError(absl::StrCat("a ", value.type_name(), " has no upper or lower case"));
  RATION_ASSIGN_OR_RETURN(const Value result, CallMethod(value, upper ? "isupper" : "islower", arguments, budget));
  return result.as_bool();
}

constexpr TestEntry kTests[] = {
    {"!=", &Compared<Operator::kNotEqual>},
    {"<", &Compared<Operator::kLess>},
    {"<=", &Compared<Operator::kLessEqual>},
    {"==", &Compared<Operator::kEqual>},
    {">", &Compared<Operator::kGreater>},
    {">=", &Compared<Operator::kGreaterEqual>},
    {"boolean", &Alone<&IsBoolean>},
    {"callable", &Alone<&IsCallable>},
    {"defined", &Alone<&IsDefined>},
    {"divisibleby", &IsDivisibleBy},
    {"eq", &Compared<Operator::kEqual>},
    {"equalto", &Compared<Operator::kEqual>},
    {"even", &IsEven},
    {"false", &Alone<&IsFalse>},
    {"float", &Alone<&IsFloat>},
    {"ge", &Compared<Operator::kGreaterEqual>},
    {"greaterthan", &Compared<Operator::kGreater>},
    {"gt", &Compared<Operator::kGreater>},
    {"in", &Compared<Operator::kIn>},
    {"integer", &Alone<&IsInteger>},
    {"iterable", &Alone<&IsIterable>},
    {"le", &Compared<Operator::kLessEqual>},
    {"lessthan", &Compared<Operator::kLess>},
    {"lower", &IsInCase<false>},
    {"lt", &Compared<Operator::kLess>},
    {"mapping", &Alone<&IsMapping>},
    {"ne", &Compared<Operator::kNotEqual>},
    {"none", &Alone<&IsNone>},
    {"number", &Alone<&IsNumber>},
    {"odd", &IsOdd},
    {"sameas", &IsSameAs},
    {"sequence", &Alone<&IsSequence>},
    {"string", &Alone<&IsString>},
    {"true", &Alone<&IsTrue>},
    {"undefined", &Alone<&IsUndefined>},
    {"upper", &IsInCase<true>},
};

}  // namespace

const TestEntry* FindTest(absl::string_view name) {
  const TestEntry* const found =
      std::find_if(std::begin(kTests), std::end(kTests), [name](const TestEntry& entry) { return entry.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace ration::jinja
