// The part of operators.h that computes.
#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/operators.h"

namespace ration::jinja {
namespace {

absl::string_view Symbol(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSubtract:
      return "-";
    case Operator::kMultiply:
      return "*";
    case Operator::kDivide:
      return "/";
    case Operator::kFloorDivide:
      return "//";
    case Operator::kModulo:
      return "%";
    case Operator::kPower:
      return "**";
    default:
      return "?";
  }
}

absl::Status TooLarge() { return absl::InvalidArgumentError("the result does not fit 64 bits"); }

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t result = 1;
  if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  for (int64_t i = 0; i < exponent; ++i) {  // at most 63 times before it overflows
    if (__builtin_mul_overflow(result, base, &result)) return TooLarge();
  }
  return Value(result);
}

absl::StatusOr<Value> IntegerArithmetic(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case Operator::kPower:
      return IntegerPower(a, b);
    default:
      break;
  }
  if (b == 0) return absl::InvalidArgumentError("division by zero");
  if (op == Operator::kDivide) return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) {  // a / b may overflow
    if (op == Operator::kModulo) return Value(int64_t{0});
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) return TooLarge();
    return Value(result);
  }
  const bool round_down = a % b != 0 && (a < 0) != (b < 0);
  if (op == Operator::kFloorDivide) return Value(a / b - (round_down ? 1 : 0));
  return Value(a % b + (round_down ? b : 0));
}

absl::StatusOr<Value> FloatArithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value(a + b);
    case Operator::kSubtract:
      return Value(a - b);
    case Operator::kMultiply:
      return Value(a * b);
    case Operator::kPower:
      return Value(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) return absl::InvalidArgumentError("division by zero");
  if (op == Operator::kDivide) return Value(a / b);
  if (op == Operator::kFloorDivide) return Value(std::floor(a / b));
  const double rest = std::fmod(a, b);
  return Value(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
}

absl::StatusOr<Value> Add(const std::shared_ptr<const List>& a, const std::shared_ptr<const List>& b,
                          RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(a->items.size() + b->items.size())));
  std::vector<Value> items;
  items.reserve(a->items.size() + b->items.size());
  items.insert(items.end(), a->items.begin(), a->items.end());
  items.insert(items.end(), b->items.begin(), b->items.end());
  return NewList(std::move(items), &budget, a->form);
}

// "ab" * 3, [1] * 3.
absl::StatusOr<Value> Repeat(const Value& value, int64_t count, RenderBudget& budget) {
  count = std::max<int64_t>(count, 0);
  const size_t one = value.is_string() ? value.as_string().size()
                                       : value.as_list()->items.size() * (sizeof(Value) + kElementBytes);
  const auto size = static_cast<int64_t>(one);
  int64_t bytes = 0;
  if (__builtin_mul_overflow(size, count, &bytes)) bytes = INT64_MAX;
  RATION_RETURN_IF_ERROR(budget.Fits(bytes));
  if (size == 0) count = 0;
  if (value.is_string()) {
    std::string text;
    text.reserve(static_cast<size_t>(bytes));
    for (int64_t i = 0; i < count; ++i) text += value.as_string();
    return NewString(std::move(text), &budget);
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count) * value.as_list()->items.size());
  for (int64_t i = 0; i < count; ++i)
    items.insert(items.end(), value.as_list()->items.begin(), value.as_list()->items.end());
  return NewList(std::move(items), &budget, value.as_list()->form);
}

bool Repeatable(const Value& value) {
  return value.is_string() || (value.is_list() && value.as_list()->form != ListForm::kLazy);
}

}  // namespace

absl::Status UndefinedError(const Value& value) { return absl::InvalidArgumentError(value.undefined_reason()); }

absl::StatusOr<Value> Arithmetic(Operator op, const Value& left, const Value& right, RenderBudget& budget) {
  if (left.is_undefined()) return UndefinedError(left);
  if (right.is_undefined()) return UndefinedError(right);
  if (left.is_integral() && right.is_integral()) return IntegerArithmetic(op, left.integer(), right.integer());
  if (left.is_number() && right.is_number()) return FloatArithmetic(op, left.number(), right.number());
  if (op == Operator::kAdd && left.is_string() && right.is_string()) {
    RATION_RETURN_IF_ERROR(budget.Fits(Text::Cost(left.as_string().size() + right.as_string().size())));
    return NewString(absl::StrCat(left.as_string(), right.as_string()), &budget);
  }
  if (op == Operator::kAdd && left.is_list() && right.is_list() && left.as_list()->form == right.as_list()->form &&
      left.as_list()->form != ListForm::kLazy) {
    return Add(left.as_list(), right.as_list(), budget);
  }
  if (op == Operator::kMultiply && Repeatable(left) && right.is_integral())
    return Repeat(left, right.integer(), budget);
  if (op == Operator::kMultiply && Repeatable(right) && left.is_integral())
    return Repeat(right, left.integer(), budget);
  if (op == Operator::kModulo && left.is_string()) {
    return absl::InvalidArgumentError("\"%\" after a string (formatting) is not supported");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", Symbol(op), "\" cannot be applied to ", left.type_name(), " and ", right.type_name()));
}

absl::StatusOr<Value> Signed(bool negative, const Value& value) {
  if (value.is_undefined()) return UndefinedError(value);
  if (!value.is_number()) {
    return absl::InvalidArgumentError(absl::StrCat("a sign cannot stand before ", value.type_name()));
  }
  if (!value.is_integral()) return Value(negative ? -value.as_float() : value.as_float());
  if (!negative) return Value(value.integer());
  return IntegerArithmetic(Operator::kSubtract, 0, value.integer());
}

absl::StatusOr<int> Order(const Value& left, const Value& right, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(budget.Steps(1));
  if (left.is_undefined()) return UndefinedError(left);
  if (right.is_undefined()) return UndefinedError(right);
  if (left.is_number() && right.is_number()) {
    if (left.is_integral() && right.is_integral()) {
      return left.integer() < right.integer() ? -1 : left.integer() > right.integer() ? 1 : 0;
    }
    return left.number() < right.number() ? -1 : left.number() > right.number() ? 1 : 0;
  }
  if (left.is_string() && right.is_string()) {
    RATION_RETURN_IF_ERROR(
        budget.Work(static_cast<int64_t>(std::min(left.as_string().size(), right.as_string().size()))));
    return left.as_string().compare(right.as_string());  // the order of UTF-8 bytes is that of the characters
  }
  if (left.is_list() && right.is_list() && left.as_list()->form == right.as_list()->form &&
      left.as_list()->form != ListForm::kLazy) {
    const std::vector<Value>& a = left.as_list()->items;
    const std::vector<Value>& b = right.as_list()->items;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      RATION_ASSIGN_OR_RETURN(const bool equal, Equal(a[i], b[i], budget));
      if (!equal) return Order(a[i], b[i], budget);
    }
    return a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0;
  }
  return absl::InvalidArgumentError(absl::StrCat(left.type_name(), " and ", right.type_name(), " have no order"));
}

absl::StatusOr<bool> Compare(Operator op, const Value& left, const Value& right, RenderBudget& budget) {
  switch (op) {
    case Operator::kEqual:
      return Equal(left, right, budget);
    case Operator::kNotEqual: {
      RATION_ASSIGN_OR_RETURN(const bool equal, Equal(left, right, budget));
      return !equal;
    }
    case Operator::kIn:
    case Operator::kNotIn: {
      bool found = false;
      if (right.is_string()) {
        if (left.is_undefined()) return UndefinedError(left);
        if (!left.is_string()) {
          return absl::InvalidArgumentError(absl::StrCat("\"in\" a string needs a string, not ", left.type_name()));
        }
        RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(right.as_string().size())));
        found = absl::string_view(right.as_string()).find(left.as_string()) != absl::string_view::npos;
      } else if (right.is_dict()) {
        if (left.is_string()) RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(left.as_string().size())));
        found = right.as_dict()->Find(left) != nullptr;
      } else {
        RATION_ASSIGN_OR_RETURN(const std::shared_ptr<const List> elements, Elements(right, budget));
        for (const Value& element : elements->items) {
          RATION_ASSIGN_OR_RETURN(found, Equal(element, left, budget));
          if (found) break;
        }
      }
      return found == (op == Operator::kIn);
    }
    default:
      break;
  }
  if (left.is_number() && right.is_number() && (std::isnan(left.number()) || std::isnan(right.number()))) return false;
  RATION_ASSIGN_OR_RETURN(const int order, Order(left, right, budget));
  if (op == Operator::kLess) return order < 0;
  if (op == Operator::kLessEqual) return order <= 0;
  return op == Operator::kGreater ? order > 0 : order >= 0;
}

}  // namespace ration::jinja
