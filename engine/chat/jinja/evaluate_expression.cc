// The part of evaluator.h that evaluates expressions.
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/evaluator.h"
#include "engine/chat/jinja/filters.h"
#include "engine/chat/jinja/functions.h"
#include "engine/chat/jinja/methods.h"
#include "engine/chat/jinja/operators.h"
#include "engine/chat/jinja/value_tests.h"
#include "engine/chat/jinja/value_text.h"

namespace ration::jinja {
namespace {

using Kind = Expression::Kind;

// A result of a function without position, with it.
template <typename T>
absl::StatusOr<T> Positioned(Position at, absl::StatusOr<T> result, absl::string_view what = "") {
  if (result.ok()) return result;
  if (what.empty()) return ErrorAt(at, result.status());
  return ErrorAt(at, absl::Status(result.status().code(), absl::StrCat(what, ": ", result.status().message())));
}

}  // namespace

absl::StatusOr<Value> Evaluator::Evaluate(const Expression& expression, Scope& scope) {
  const Level level(this);
  RATION_RETURN_IF_ERROR(CheckDepth(expression.at));
  if (absl::Status status = budget_.Steps(1); !status.ok()) return ErrorAt(expression.at, status);
  return EvaluateChecked(expression, scope);
}

absl::StatusOr<Value> Evaluator::EvaluateChecked(const Expression& expression, Scope& scope) {
  const auto& operands = expression.operands;
  switch (expression.kind) {
    case Kind::kLiteral:
      return expression.value;
    case Kind::kName:
      return EvaluateName(expression, scope);
    case Kind::kList:
    case Kind::kTuple:
      return EvaluateList(expression, scope);
    case Kind::kDict:
      return EvaluateDict(expression, scope);
    case Kind::kConcatenate:
      return EvaluateConcatenation(expression, scope);
    case Kind::kAnd:
    case Kind::kOr: {
      Value value;
      for (const ExpressionPtr& operand : operands) {
        RATION_ASSIGN_OR_RETURN(value, Evaluate(*operand, scope));
        if (value.truth() == (expression.kind == Kind::kOr)) break;
      }
      return value;
    }
    case Kind::kNot: {
      RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*operands[0], scope));
      return Value(!value.truth());
    }
    case Kind::kNegate:
    case Kind::kPlus: {
      RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*operands[0], scope));
      return Positioned(expression.at, Signed(expression.kind == Kind::kNegate, value));
    }
    case Kind::kArithmetic: {
      RATION_ASSIGN_OR_RETURN(const Value left, Evaluate(*operands[0], scope));
      RATION_ASSIGN_OR_RETURN(const Value right, Evaluate(*operands[1], scope));
      return Positioned(expression.at, Arithmetic(expression.operators[0], left, right, budget_));
    }
    case Kind::kCompare:
      return EvaluateCompare(expression, scope);
    case Kind::kConditional: {
      RATION_ASSIGN_OR_RETURN(const Value condition, Evaluate(*operands[0], scope));
      if (condition.truth()) return Evaluate(*operands[1], scope);
      if (operands[2] != nullptr) return Evaluate(*operands[2], scope);
      return Value::UndefinedBecause("the condition is false and there is no else");
    }
    case Kind::kAttribute: {
      RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*operands[0], scope));
      return Positioned(expression.at, GetAttribute(value, expression.name, budget_));
    }
    case Kind::kItem: {
      RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*operands[0], scope));
      RATION_ASSIGN_OR_RETURN(const Value key, Evaluate(*operands[1], scope));
      return Positioned(expression.at, GetItem(value, key, budget_));
    }
    case Kind::kSlice:
      return EvaluateSlice(expression, scope);
    case Kind::kCall:
      return EvaluateCall(expression, scope);
    case Kind::kFilter:
      return EvaluateFilter(expression, scope);
    case Kind::kTest:
      return EvaluateTest(expression, scope);
  }
  return Value();
}

absl::StatusOr<Value> Evaluator::EvaluateName(const Expression& expression, const Scope& scope) const {
  if (const Value* value = scope.Find(expression.name)) return *value;
  return FindFunction(expression.name);
}

absl::StatusOr<Value> Evaluator::EvaluateList(const Expression& expression, Scope& scope) {
  std::vector<Value> items;
  items.reserve(expression.operands.size());
  for (const ExpressionPtr& operand : expression.operands) {
    RATION_ASSIGN_OR_RETURN(Value item, Evaluate(*operand, scope));
    items.push_back(std::move(item));
  }
  const ListForm form = expression.kind == Kind::kTuple ? ListForm::kTuple : ListForm::kList;
  return Positioned(expression.at, NewList(std::move(items), &budget_, form));
}

absl::StatusOr<Value> Evaluator::EvaluateDict(const Expression& expression, Scope& scope) {
  std::vector<Dict::Entry> entries;
  for (size_t i = 0; i + 1 < expression.operands.size(); i += 2) {
    RATION_ASSIGN_OR_RETURN(Value key, Evaluate(*expression.operands[i], scope));
    RATION_ASSIGN_OR_RETURN(Value value, Evaluate(*expression.operands[i + 1], scope));
    entries.emplace_back(std::move(key), std::move(value));
  }
  return Positioned(expression.at, NewDict(std::move(entries), &budget_));
}

absl::StatusOr<Value> Evaluator::EvaluateConcatenation(const Expression& expression, Scope& scope) {
  std::string text;
  for (const ExpressionPtr& operand : expression.operands) {
    RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*operand, scope));
    const int64_t max_bytes = budget_.limits().memory_bytes - budget_.memory_bytes();
    if (absl::Status status = AppendText(value, max_bytes / 2, text); !status.ok()) return ErrorAt(operand->at, status);
  }
  return Positioned(expression.at, NewString(std::move(text), &budget_));
}

absl::StatusOr<Value> Evaluator::EvaluateCompare(const Expression& expression, Scope& scope) {
  RATION_ASSIGN_OR_RETURN(Value left, Evaluate(*expression.operands[0], scope));
  for (size_t i = 0; i < expression.operators.size(); ++i) {
    RATION_ASSIGN_OR_RETURN(Value right, Evaluate(*expression.operands[i + 1], scope));
    RATION_ASSIGN_OR_RETURN(const bool holds,
                            Positioned(expression.at, Compare(expression.operators[i], left, right, budget_)));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

absl::StatusOr<Value> Evaluator::EvaluateSlice(const Expression& expression, Scope& scope) {
  RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*expression.operands[0], scope));
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expression.operands[i + 1] == nullptr) continue;
    RATION_ASSIGN_OR_RETURN(bounds[i], Evaluate(*expression.operands[i + 1], scope));
  }
  return Positioned(expression.at, Slice(value, bounds[0], bounds[1], bounds[2], budget_));
}

absl::StatusOr<Arguments> Evaluator::EvaluateArguments(const Expression& expression, Scope& scope) {
  Arguments arguments;
  const size_t first_keyword = expression.operands.size() - expression.keywords.size();
  for (size_t i = 1; i < expression.operands.size(); ++i) {
    RATION_ASSIGN_OR_RETURN(Value value, Evaluate(*expression.operands[i], scope));
    if (i < first_keyword) {
      arguments.positional.push_back(std::move(value));
    } else {
      arguments.keyword.emplace_back(expression.keywords[i - first_keyword], std::move(value));
    }
  }
  return arguments;
}

absl::StatusOr<Value> Evaluator::EvaluateFilter(const Expression& expression, Scope& scope) {
  if (expression.filter == nullptr) {
    return ErrorAt(expression.at, absl::StrCat("filter ", Quoted(expression.name), " is not supported"));
  }
  Value value;
  if (expression.operands[0] != nullptr) {
    RATION_ASSIGN_OR_RETURN(value, Evaluate(*expression.operands[0], scope));
  } else if (filtered_ != nullptr) {
    value = *filtered_;
  }
  RATION_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression, scope));
  return Positioned(expression.at, expression.filter->apply(value, arguments, budget_), expression.name);
}

absl::StatusOr<Value> Evaluator::EvaluateTest(const Expression& expression, Scope& scope) {
  if (expression.test == nullptr) {
    return ErrorAt(expression.at, absl::StrCat("test ", Quoted(expression.name), " is not supported"));
  }
  RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*expression.operands[0], scope));
  RATION_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression, scope));
  RATION_ASSIGN_OR_RETURN(
      const bool holds, Positioned(expression.at, expression.test->apply(value, arguments, budget_), expression.name));
  return Value(holds);
}

absl::StatusOr<Value> Evaluator::EvaluateCall(const Expression& expression, Scope& scope) {
  RATION_ASSIGN_OR_RETURN(const Value callee, Evaluate(*expression.operands[0], scope));
  if (callee.is_undefined()) return ErrorAt(expression.operands[0]->at, UndefinedError(callee));
  if (callee.kind() != Value::Kind::kCallable) {
    return ErrorAt(expression.at, absl::StrCat("a ", callee.type_name(), " cannot be called"));
  }
  RATION_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression, scope));
  const Callable& callable = *callee.as_callable();
  switch (callable.kind) {
    case Callable::Kind::kMacro:
      return CallMacro(*callable.macro, arguments, expression.at);
    case Callable::Kind::kMethod:
      return Positioned(expression.at, CallMethod(callable.receiver, callable.name, arguments, budget_), callable.name);
    case Callable::Kind::kFunction:
      break;
  }
  if (callable.function == Function::kNamespace)
    return Positioned(expression.at, MakeNamespace(arguments), "namespace");
  absl::StatusOr<Value> result = CallFunction(callable.function, arguments, now_, budget_);
  if (absl::IsAborted(result.status())) return result.status();  // the template's own message
  return Positioned(expression.at, std::move(result), callable.name);
}

absl::StatusOr<Value> Evaluator::CallMacro(const Macro& macro, const Arguments& arguments, Position at) {
  if (arguments.positional.size() > macro.parameters.size()) {
    return ErrorAt(at, absl::StrCat("macro ", Quoted(macro.name), " takes at most ", macro.parameters.size(),
                                    " argument(s), not ", arguments.positional.size()));
  }
  // A macro sees the template's names and its own, not its caller's.
  Scope inner(&root_);
  std::vector<const Value*> given(macro.parameters.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) given[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    size_t i = 0;
    while (i < macro.parameters.size() && macro.parameters[i].name != name) ++i;
    if (i == macro.parameters.size() || given[i] != nullptr) {
      return ErrorAt(at, absl::StrCat("macro ", Quoted(macro.name), ": argument ", Quoted(name),
                                      i == macro.parameters.size() ? " is not known" : " is given twice"));
    }
    given[i] = &value;
  }
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Macro::Parameter& parameter = macro.parameters[i];
    if (given[i] != nullptr) {
      inner.Set(parameter.name, *given[i]);
    } else if (parameter.default_value != nullptr) {
      RATION_ASSIGN_OR_RETURN(Value value, Evaluate(*parameter.default_value, inner));
      inner.Set(parameter.name, std::move(value));
    } else {
      inner.Set(parameter.name,
                Value::UndefinedBecause(absl::StrCat("argument ", Quoted(parameter.name), " was not given")));
    }
  }
  return Capture(macro.body, inner, at);
}

absl::StatusOr<Value> Evaluator::MakeNamespace(const Arguments& arguments) {
  RATION_ASSIGN_OR_RETURN(const Value dict, CallFunction(Function::kDict, arguments, now_, budget_));
  RATION_RETURN_IF_ERROR(budget_.Fits(Dict::Cost(dict.as_dict()->entries().size())));
  const auto space = std::make_shared<Namespace>(dict.as_dict()->entries().size(), &budget_);
  for (const auto& [key, value] : dict.as_dict()->entries()) {
    if (!key.is_string()) return absl::InvalidArgumentError("the names of attributes must be strings");
    space->attributes[key.as_string()] = value;
  }
  RATION_RETURN_IF_ERROR(budget_.Steps(10));
  namespaces_.push_back(space);
  return Value(space);
}

}  // namespace ration::jinja
