// A parsed template. Immutable after parsing, so that threads may render it at the same time.
// Layer: engine/chat/jinja. Plain data.
//
// Invariants: (1) an expression's `depth` is at most kMaxExpressionDepth and statements nest at most
// kMaxStatementDepth deep, so that what recurses over them is bounded. (2) Macros stand outside for statements,
// macros and blocks.
#ifndef RATION_ENGINE_CHAT_JINJA_AST_H_
#define RATION_ENGINE_CHAT_JINJA_AST_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/chat/jinja/position.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

inline constexpr int kMaxExpressionDepth = 128;
inline constexpr int kMaxStatementDepth = 64;

struct FilterEntry;  // filters.h
struct TestEntry;    // value_tests.h

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct Expression {
  enum class Kind {
    kLiteral,      // value
    kName,         // name
    kList,         // operands
    kTuple,        // operands
    kDict,         // operands: key, value, key, value...
    kConcatenate,  // operands, as text
    kAnd,          // operands, at least two
    kOr,           // operands, at least two
    kNot,          // operand
    kNegate,       // operand
    kPlus,         // operand
    kArithmetic,   // operators[0] of two operands
    kCompare,      // operands[0] operators[0] operands[1] operators[1] ...
    kConditional,  // operands: condition, then, otherwise (may be null: undefined)
    kAttribute,    // operand.name
    kItem,         // operands[0][operands[1]]
    kSlice,        // operands[0][operands[1] : operands[2] : operands[3]], each of the last three may be null
    kCall,         // operands[0](arguments)
    kFilter,       // operands[0] | filter(arguments); a null operand: a set block's content
    kTest,         // operands[0] is test(arguments)
  };
  Kind kind = Kind::kLiteral;
  Position at;
  int depth = 1;
  Value value;
  std::string name;
  std::vector<Operator> operators;
  std::vector<ExpressionPtr> operands;
  std::vector<std::string> keywords;    // of the last operands of a call, filter or test
  const FilterEntry* filter = nullptr;  // null: `name` is not supported; an error when it is reached
  const TestEntry* test = nullptr;      // the same
};

struct Statement;
using Body = std::vector<std::unique_ptr<const Statement>>;

// A name, or an attribute of a namespace.
struct Target {
  std::string name;
  std::string attribute;  // empty: the name itself
  Position at;
};

struct Macro {
  struct Parameter {
    std::string name;
    ExpressionPtr default_value;  // may be null
  };
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
};

struct Statement {
  enum class Kind {
    kText,      // text
    kPrint,     // expression
    kFor,       // for targets in expression if condition: body, else: otherwise
    kIf,        // branches, else: otherwise
    kSet,       // set targets = expression
    kSetBlock,  // set targets | expression (may be null): body
    kMacro,     // macro
    kScope,     // body with names of its own (generation)
    kBreak,
    kContinue,
  };
  struct Branch {
    ExpressionPtr condition;
    Body body;
  };
  Kind kind = Kind::kText;
  Position at;
  std::string text;
  std::vector<Target> targets;
  bool unpack = false;  // targets are a tuple, even if of one
  ExpressionPtr expression;
  ExpressionPtr condition;  // may be null
  Body body;
  Body otherwise;
  std::vector<Branch> branches;
  std::unique_ptr<const Macro> macro;
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_AST_H_
