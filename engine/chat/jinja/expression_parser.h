// Parses the expressions of a template, with Jinja's order of operators (which is not Python's: `~` binds tighter
// than `+`, a filter tighter than any operator).
// Layer: engine/chat/jinja. Thread-compatible; used by the statement parser only.
#ifndef RATION_ENGINE_CHAT_JINJA_EXPRESSION_PARSER_H_
#define RATION_ENGINE_CHAT_JINJA_EXPRESSION_PARSER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/chat/jinja/ast.h"
#include "engine/chat/jinja/token_stream.h"

namespace ration::jinja {

class ExpressionParser {
 public:
  // `tokens` must outlive the parser.
  explicit ExpressionParser(TokenStream* tokens) : tokens_(*tokens) {}

  // Errors begin with the position.
  absl::StatusOr<ExpressionPtr> Parse() { return ParseConditional(); }
  // One expression, or several with commas between: a tuple.
  absl::StatusOr<ExpressionPtr> ParseTuple();
  // Without a conditional at its top: `for x in THIS if ...`.
  absl::StatusOr<ExpressionPtr> ParseTupleWithoutConditional();
  // The filters of a set block, after its name: `| filter | filter`. Null if there are none.
  absl::StatusOr<ExpressionPtr> ParseFilters();

  // Whether what is parsed may never be reached: a filter or test that is not supported is then an error only when it
  // is.
  void EnterConditional() { ++conditional_depth_; }
  void LeaveConditional() { --conditional_depth_; }

 private:
  using Mutable = std::unique_ptr<Expression>;
  using Operands = std::vector<ExpressionPtr>;
  using ParseFunction = absl::StatusOr<ExpressionPtr> (ExpressionParser::*)();

  absl::StatusOr<ExpressionPtr> ParseConditional();
  absl::StatusOr<ExpressionPtr> ParseOr();
  absl::StatusOr<ExpressionPtr> ParseAnd();
  absl::StatusOr<ExpressionPtr> ParseNot();
  absl::StatusOr<ExpressionPtr> ParseCompare();
  absl::StatusOr<ExpressionPtr> ParseSum();
  absl::StatusOr<ExpressionPtr> ParseConcatenation();
  absl::StatusOr<ExpressionPtr> ParseProduct();
  absl::StatusOr<ExpressionPtr> ParsePower();
  absl::StatusOr<ExpressionPtr> ParseUnary();
  absl::StatusOr<ExpressionPtr> ParseUnaryWithoutFilter();
  absl::StatusOr<ExpressionPtr> ParsePrimary();
  absl::StatusOr<ExpressionPtr> ParseName();
  absl::StatusOr<ExpressionPtr> ParseList();
  absl::StatusOr<ExpressionPtr> ParseDict();
  absl::StatusOr<ExpressionPtr> ParseParentheses();
  absl::StatusOr<ExpressionPtr> ParsePostfix(ExpressionPtr operand);
  absl::StatusOr<ExpressionPtr> ParseFilterChain(ExpressionPtr operand);
  absl::StatusOr<ExpressionPtr> ParseSubscript(ExpressionPtr operand);
  absl::StatusOr<ExpressionPtr> ParseCall(ExpressionPtr operand);
  absl::StatusOr<ExpressionPtr> ParseFilter(ExpressionPtr operand);
  absl::StatusOr<ExpressionPtr> ParseTest(ExpressionPtr operand);
  // From "(" to ")".
  absl::Status ParseArguments(Expression* into);
  absl::StatusOr<ExpressionPtr> ParseTupleOf(ParseFunction element);
  // `element` once or more, with operators of `texts` between; each pair is an arithmetic operation.
  absl::StatusOr<ExpressionPtr> ParseBinary(ParseFunction element,
                                            const std::vector<std::pair<const char*, Operator>>& texts);
  // `element` once or more with `separator` (a name) between, as one expression of `kind`.
  absl::StatusOr<ExpressionPtr> ParseChain(ParseFunction element, const char* separator, Expression::Kind kind);

  static Mutable New(Expression::Kind kind, Position at);
  // Checks the depth.
  absl::StatusOr<ExpressionPtr> Done(Mutable expression);
  // What "name is not supported" comes to: an error now, or when it is reached.
  absl::Status Unsupported(Position at, const std::string& what) const;

  TokenStream& tokens_;
  int conditional_depth_ = 0;
  int open_ = 0;  // recursion of ParseConditional and ParseUnary
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_EXPRESSION_PARSER_H_
