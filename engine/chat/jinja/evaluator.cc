#include "engine/chat/jinja/evaluator.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/operators.h"
#include "engine/chat/jinja/value_text.h"

namespace ration::jinja {

using Kind = Statement::Kind;

Evaluator::~Evaluator() {
  // Namespaces may hold one another in circles.
  for (const std::shared_ptr<Namespace>& space : namespaces_) space->attributes.clear();
}

absl::Status Evaluator::CheckDepth(Position at) const {
  if (depth_ <= budget_.limits().depth) return absl::OkStatus();
  return ErrorAt(
      at, absl::StrCat("statements, expressions and macro calls nest deeper than ", budget_.limits().depth, " levels"));
}

absl::StatusOr<std::string> Evaluator::Run(const Body& body) {
  Output output;
  output.max_bytes = budget_.limits().output_bytes;
  RATION_RETURN_IF_ERROR(Execute(body, root_, output).status());
  return std::move(output.text);
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const Body& body, Scope& scope, Output& output) {
  for (const std::unique_ptr<const Statement>& statement : body) {
    RATION_ASSIGN_OR_RETURN(const Flow flow, ExecuteOne(*statement, scope, output));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

absl::Status Evaluator::Write(Position at, const Value& value, Output& output) {
  const size_t before = output.text.size();
  absl::Status status = AppendText(value, output.max_bytes, output.text);
  if (status.ok()) status = budget_.Work(static_cast<int64_t>(output.text.size() - before));
  return status.ok() ? status : ErrorAt(at, status);
}

absl::StatusOr<Evaluator::Flow> Evaluator::ExecuteOne(const Statement& statement, Scope& scope, Output& output) {
  const Level level(this);
  RATION_RETURN_IF_ERROR(CheckDepth(statement.at));
  if (absl::Status status = budget_.Steps(1); !status.ok()) return ErrorAt(statement.at, status);
  switch (statement.kind) {
    case Kind::kText:
      if (static_cast<int64_t>(output.text.size() + statement.text.size()) > output.max_bytes) {
        return ErrorAt(statement.at, absl::StrCat("a text would be longer than ", output.max_bytes, " bytes"));
      }
      output.text += statement.text;
      if (absl::Status status = budget_.Work(static_cast<int64_t>(statement.text.size())); !status.ok()) {
        return ErrorAt(statement.at, status);
      }
      return Flow::kNext;
    case Kind::kPrint: {
      RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression, scope));
      RATION_RETURN_IF_ERROR(Write(statement.at, value, output));
      return Flow::kNext;
    }
    case Kind::kIf:
      return ExecuteIf(statement, scope, output);
    case Kind::kFor:
      return ExecuteFor(statement, scope, output);
    case Kind::kSet: {
      RATION_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression, scope));
      RATION_RETURN_IF_ERROR(Assign(statement, value, scope));
      return Flow::kNext;
    }
    case Kind::kSetBlock: {
      RATION_ASSIGN_OR_RETURN(Value value, Capture(statement.body, scope, statement.at));
      if (statement.expression != nullptr) {
        const Value* const outer = std::exchange(filtered_, &value);
        const absl::Cleanup restore = [this, outer] { filtered_ = outer; };
        RATION_ASSIGN_OR_RETURN(Value filtered, Evaluate(*statement.expression, scope));
        value = std::move(filtered);
      }
      RATION_RETURN_IF_ERROR(Assign(statement, value, scope));
      return Flow::kNext;
    }
    case Kind::kMacro: {
      Callable callable;
      callable.kind = Callable::Kind::kMacro;
      callable.name = statement.macro->name;
      callable.macro = statement.macro.get();
      scope.Set(callable.name, Value(std::make_shared<const Callable>(callable)));
      return Flow::kNext;
    }
    case Kind::kScope: {
      Scope inner(&scope);
      return Execute(statement.body, inner, output);
    }
    case Kind::kBreak:
      return Flow::kBreak;
    case Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::ExecuteIf(const Statement& statement, Scope& scope, Output& output) {
  for (const Statement::Branch& branch : statement.branches) {
    RATION_ASSIGN_OR_RETURN(const Value condition, Evaluate(*branch.condition, scope));
    if (condition.truth()) return Execute(branch.body, scope, output);
  }
  return Execute(statement.otherwise, scope, output);
}

absl::StatusOr<Value> Evaluator::FilteredElements(const Statement& statement, Scope& scope) {
  RATION_ASSIGN_OR_RETURN(const Value iterated, Evaluate(*statement.expression, scope));
  absl::StatusOr<std::shared_ptr<const List>> elements = Elements(iterated, budget_);
  if (!elements.ok()) return ErrorAt(statement.expression->at, elements.status());
  if (statement.condition == nullptr) return Value(*std::move(elements));
  std::vector<Value> items;
  for (const Value& element : (*elements)->items) {
    if (absl::Status status = budget_.Steps(2); !status.ok()) return ErrorAt(statement.at, status);
    Scope inner(&scope);
    RATION_RETURN_IF_ERROR(Assign(statement, element, inner));
    RATION_ASSIGN_OR_RETURN(const Value keep, Evaluate(*statement.condition, inner));
    if (keep.truth()) items.push_back(element);
  }
  absl::StatusOr<Value> list = NewList(std::move(items), &budget_);
  return list.ok() ? std::move(list) : ErrorAt(statement.at, list.status());
}

absl::StatusOr<Evaluator::Flow> Evaluator::ExecuteFor(const Statement& statement, Scope& scope, Output& output) {
  RATION_ASSIGN_OR_RETURN(const Value elements, FilteredElements(statement, scope));
  const std::vector<Value>& items = elements.as_list()->items;
  const auto loop = std::make_shared<Loop>();
  loop->items = elements.as_list();
  const absl::Cleanup leave = [&loop] { loop->changed.clear(); };  // it may hold the loop itself
  bool completed = false;
  for (size_t i = 0; i < items.size(); ++i) {
    constexpr int64_t kStepsOfARound = 4;  // a scope with two names
    if (absl::Status status = budget_.Steps(kStepsOfARound); !status.ok()) return ErrorAt(statement.at, status);
    loop->index = i;
    Scope inner(&scope);
    inner.Set("loop", Value(loop));
    RATION_RETURN_IF_ERROR(Assign(statement, items[i], inner));
    RATION_ASSIGN_OR_RETURN(const Flow flow, Execute(statement.body, inner, output));
    if (flow == Flow::kBreak) break;
    completed = completed || flow == Flow::kNext;
  }
  if (completed) return Flow::kNext;
  Scope inner(&scope);  // as in Jinja, which takes the else part unless the body came to its end once
  return Execute(statement.otherwise, inner, output);
}

absl::Status Evaluator::Assign(const Statement& statement, const Value& value, Scope& scope) {
  if (!statement.unpack) return AssignTo(statement.targets[0], value, scope);
  absl::StatusOr<std::shared_ptr<const List>> parts = Elements(value, budget_);
  if (!parts.ok()) return ErrorAt(statement.at, parts.status());
  if (value.is_undefined()) return ErrorAt(statement.at, UndefinedError(value));
  if ((*parts)->items.size() != statement.targets.size()) {
    return ErrorAt(statement.at, absl::StrCat("cannot assign ", (*parts)->items.size(), " value(s) to ",
                                              statement.targets.size(), " name(s)"));
  }
  for (size_t i = 0; i < statement.targets.size(); ++i) {
    RATION_RETURN_IF_ERROR(AssignTo(statement.targets[i], (*parts)->items[i], scope));
  }
  return absl::OkStatus();
}

absl::Status Evaluator::AssignTo(const Target& target, Value value, Scope& scope) {
  if (target.attribute.empty()) {
    scope.Set(target.name, std::move(value));
    return absl::OkStatus();
  }
  const Value* const space = scope.Find(target.name);
  if (space == nullptr || space->kind() != Value::Kind::kNamespace) {
    return ErrorAt(target.at, "only attributes of a namespace can be assigned to");
  }
  space->as_namespace()->attributes[target.attribute] = std::move(value);
  return absl::OkStatus();
}

absl::StatusOr<Value> Evaluator::Capture(const Body& body, Scope& scope, Position at) {
  Output captured;
  captured.max_bytes = budget_.limits().memory_bytes - budget_.memory_bytes();
  Scope inner(&scope);
  RATION_RETURN_IF_ERROR(Execute(body, inner, captured).status());
  absl::StatusOr<Value> text = NewString(std::move(captured.text), &budget_);
  return text.ok() ? std::move(text) : ErrorAt(at, text.status());
}

}  // namespace ration::jinja
