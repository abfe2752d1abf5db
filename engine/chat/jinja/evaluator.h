// Runs a parsed template once.
// Layer: engine/chat/jinja. Thread-compatible; one object a rendering.
#ifndef RATION_ENGINE_CHAT_JINJA_EVALUATOR_H_
#define RATION_ENGINE_CHAT_JINJA_EVALUATOR_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/chat/jinja/arguments.h"
#include "engine/chat/jinja/ast.h"
#include "engine/chat/jinja/budget.h"
#include "engine/chat/jinja/runtime_objects.h"
#include "engine/chat/jinja/scope.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

class Evaluator {
 public:
  Evaluator(const RenderLimits& limits, absl::Time now) : budget_(limits), now_(now), root_(nullptr) {}
  ~Evaluator();

  // A variable of the template.
  void Set(absl::string_view name, Value value) { root_.Set(name, std::move(value)); }
  // The text. Errors begin with a position; Aborted if the template raised an exception. Once.
  absl::StatusOr<std::string> Run(const Body& body);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  // What is being written to: the result, a set block's or a macro's text.
  struct Output {
    std::string text;
    int64_t max_bytes = 0;
  };

  // Statements (evaluator.cc).
  absl::StatusOr<Flow> Execute(const Body& body, Scope& scope, Output& output);
  absl::StatusOr<Flow> ExecuteOne(const Statement& statement, Scope& scope, Output& output);
  absl::StatusOr<Flow> ExecuteIf(const Statement& statement, Scope& scope, Output& output);
  absl::StatusOr<Flow> ExecuteFor(const Statement& statement, Scope& scope, Output& output);
  absl::StatusOr<Value> FilteredElements(const Statement& statement, Scope& scope);
  absl::Status Assign(const Statement& statement, const Value& value, Scope& scope);
  absl::Status AssignTo(const Target& target, Value value, Scope& scope);
  absl::StatusOr<Value> Capture(const Body& body, Scope& scope, Position at);
  absl::Status Write(Position at, const Value& value, Output& output);

  // Expressions (evaluate_expression.cc).
  absl::StatusOr<Value> Evaluate(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateChecked(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateName(const Expression& expression, const Scope& scope) const;
  absl::StatusOr<Value> EvaluateList(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateDict(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateConcatenation(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateCompare(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateSlice(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateCall(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateFilter(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> EvaluateTest(const Expression& expression, Scope& scope);
  absl::StatusOr<Arguments> EvaluateArguments(const Expression& expression, Scope& scope);
  absl::StatusOr<Value> CallMacro(const Macro& macro, const Arguments& arguments, Position at);
  absl::StatusOr<Value> MakeNamespace(const Arguments& arguments);

  // Goes one level deeper for as long as it lives.
  class Level {
   public:
    explicit Level(Evaluator* evaluator) : evaluator_(*evaluator) { ++evaluator_.depth_; }
    ~Level() { --evaluator_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Evaluator& evaluator_;
  };
  absl::Status CheckDepth(Position at) const;

  RenderBudget budget_;  // outlives the values
  const absl::Time now_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;  // all that were made
  Scope root_;
  const Value* filtered_ = nullptr;  // the content that a set block's filters work on
  int depth_ = 0;
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_EVALUATOR_H_
