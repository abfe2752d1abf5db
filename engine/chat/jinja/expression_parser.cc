#include "engine/chat/jinja/expression_parser.h"

#include <algorithm>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/filters.h"
#include "engine/chat/jinja/value_tests.h"

namespace ration::jinja {
namespace {

using Kind = Expression::Kind;

absl::Status TooDeep(Position at) {
  return ErrorAt(at, absl::StrCat("expressions nest deeper than ", kMaxExpressionDepth, " levels"));
}

bool EndsTuple(const TokenStream& tokens) {
  return tokens.At(Token::Kind::kVariableEnd) || tokens.At(Token::Kind::kBlockEnd) || tokens.AtOperator(")");
}

}  // namespace

ExpressionParser::Mutable ExpressionParser::New(Kind kind, Position at) {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->at = at;
  return expression;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::Done(Mutable expression) {
  for (const ExpressionPtr& operand : expression->operands) {
    if (operand != nullptr) expression->depth = std::max(expression->depth, operand->depth + 1);
  }
  if (expression->depth > kMaxExpressionDepth) return TooDeep(expression->at);
  return ExpressionPtr(std::move(expression));
}

absl::Status ExpressionParser::Unsupported(Position at, const std::string& what) const {
  if (conditional_depth_ > 0) return absl::OkStatus();
  return ErrorAt(at, absl::StrCat(what, " is not supported"));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTupleOf(ParseFunction element) {
  const Position at = tokens_.current().at;
  RATION_ASSIGN_OR_RETURN(ExpressionPtr first, (this->*element)());
  if (!tokens_.AtOperator(",")) return first;
  Mutable tuple = New(Kind::kTuple, at);
  tuple->operands.push_back(std::move(first));
  while (tokens_.SkipOperator(",")) {
    if (EndsTuple(tokens_)) break;
    RATION_ASSIGN_OR_RETURN(ExpressionPtr next, (this->*element)());
    tuple->operands.push_back(std::move(next));
  }
  return Done(std::move(tuple));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTuple() {
  return ParseTupleOf(&ExpressionParser::ParseConditional);
}
absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTupleWithoutConditional() {
  return ParseTupleOf(&ExpressionParser::ParseOr);
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseConditional() {
  if (++open_ > kMaxExpressionDepth) return TooDeep(tokens_.current().at);
  const absl::Cleanup leave = [this] { --open_; };
  RATION_ASSIGN_OR_RETURN(ExpressionPtr then, ParseOr());
  while (tokens_.AtName("if")) {
    Mutable conditional = New(Kind::kConditional, tokens_.Next().at);
    EnterConditional();
    const absl::Cleanup leave_conditional = [this] { LeaveConditional(); };
    RATION_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (tokens_.SkipName("else")) {
      RATION_ASSIGN_OR_RETURN(otherwise, ParseConditional());
    }
    conditional->operands.push_back(std::move(condition));
    conditional->operands.push_back(std::move(then));
    conditional->operands.push_back(std::move(otherwise));
    RATION_ASSIGN_OR_RETURN(then, Done(std::move(conditional)));
  }
  return then;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseChain(ParseFunction element, const char* separator, Kind kind) {
  const Position at = tokens_.current().at;
  RATION_ASSIGN_OR_RETURN(ExpressionPtr first, (this->*element)());
  if (!tokens_.AtName(separator)) return first;
  Mutable chain = New(kind, at);
  chain->operands.push_back(std::move(first));
  while (tokens_.SkipName(separator)) {
    RATION_ASSIGN_OR_RETURN(ExpressionPtr next, (this->*element)());
    chain->operands.push_back(std::move(next));
  }
  return Done(std::move(chain));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseOr() {
  return ParseChain(&ExpressionParser::ParseAnd, "or", Kind::kOr);
}
absl::StatusOr<ExpressionPtr> ExpressionParser::ParseAnd() {
  return ParseChain(&ExpressionParser::ParseNot, "and", Kind::kAnd);
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseNot() {
  if (!tokens_.AtName("not")) return ParseCompare();
  if (++open_ > kMaxExpressionDepth) return TooDeep(tokens_.current().at);
  const absl::Cleanup leave = [this] { --open_; };
  Mutable negation = New(Kind::kNot, tokens_.Next().at);
  RATION_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  negation->operands.push_back(std::move(operand));
  return Done(std::move(negation));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseCompare() {
  static constexpr std::pair<const char*, Operator> kOperators[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  const Position at = tokens_.current().at;
  RATION_ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  Mutable compare = New(Kind::kCompare, at);
  compare->operands.push_back(std::move(first));
  while (true) {
    std::optional<Operator> found;
    for (const auto& [text, op] : kOperators) {
      if (tokens_.SkipOperator(text)) {
        found = op;
        break;
      }
    }
    if (!found.has_value() && tokens_.SkipName("in")) found = Operator::kIn;
    if (!found.has_value() && tokens_.AtName("not") && tokens_.ahead().kind == Token::Kind::kName &&
        tokens_.ahead().text == "in") {
      tokens_.Next();
      tokens_.Next();
      found = Operator::kNotIn;
    }
    if (!found.has_value()) break;
    RATION_ASSIGN_OR_RETURN(ExpressionPtr next, ParseSum());
    compare->operators.push_back(*found);
    compare->operands.push_back(std::move(next));
  }
  if (compare->operators.empty()) return std::move(compare->operands[0]);
  return Done(std::move(compare));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseBinary(
    ParseFunction element, const std::vector<std::pair<const char*, Operator>>& texts) {
  RATION_ASSIGN_OR_RETURN(ExpressionPtr left, (this->*element)());
  while (true) {
    const Position at = tokens_.current().at;
    const auto found = std::find_if(texts.begin(), texts.end(),
                                    [this](const auto& entry) { return tokens_.SkipOperator(entry.first); });
    if (found == texts.end()) return left;
    Mutable operation = New(Kind::kArithmetic, at);
    operation->operators.push_back(found->second);
    RATION_ASSIGN_OR_RETURN(ExpressionPtr right, (this->*element)());
    operation->operands.push_back(std::move(left));
    operation->operands.push_back(std::move(right));
    RATION_ASSIGN_OR_RETURN(left, Done(std::move(operation)));
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseSum() {
  return ParseBinary(&ExpressionParser::ParseConcatenation, {{"+", Operator::kAdd}, {"-", Operator::kSubtract}});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseConcatenation() {
  const Position at = tokens_.current().at;
  RATION_ASSIGN_OR_RETURN(ExpressionPtr first, ParseProduct());
  if (!tokens_.AtOperator("~")) return first;
  Mutable concatenation = New(Kind::kConcatenate, at);
  concatenation->operands.push_back(std::move(first));
  while (tokens_.SkipOperator("~")) {
    RATION_ASSIGN_OR_RETURN(ExpressionPtr next, ParseProduct());
    concatenation->operands.push_back(std::move(next));
  }
  return Done(std::move(concatenation));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseProduct() {
  return ParseBinary(
      &ExpressionParser::ParsePower,
      {{"*", Operator::kMultiply}, {"/", Operator::kDivide}, {"//", Operator::kFloorDivide}, {"%", Operator::kModulo}});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePower() {
  return ParseBinary(&ExpressionParser::ParseUnary, {{"**", Operator::kPower}});
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseUnary() {
  RATION_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnaryWithoutFilter());
  return ParseFilterChain(std::move(operand));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseUnaryWithoutFilter() {
  ExpressionPtr operand;
  if (tokens_.AtOperator("-") || tokens_.AtOperator("+")) {
    if (++open_ > kMaxExpressionDepth) return TooDeep(tokens_.current().at);
    const absl::Cleanup leave = [this] { --open_; };
    const Token& sign = tokens_.Next();
    Mutable unary = New(sign.text == "-" ? Kind::kNegate : Kind::kPlus, sign.at);
    RATION_ASSIGN_OR_RETURN(ExpressionPtr inner, ParseUnaryWithoutFilter());
    unary->operands.push_back(std::move(inner));
    RATION_ASSIGN_OR_RETURN(operand, Done(std::move(unary)));
  } else {
    RATION_ASSIGN_OR_RETURN(operand, ParsePrimary());
  }
  return ParsePostfix(std::move(operand));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePrimary() {
  const Token& token = tokens_.current();
  switch (token.kind) {
    case Token::Kind::kName:
      return ParseName();
    case Token::Kind::kString: {
      Mutable literal = New(Kind::kLiteral, token.at);
      std::string text;
      while (tokens_.At(Token::Kind::kString)) text += tokens_.Next().text;  // 'a' 'b' is 'ab'
      RATION_ASSIGN_OR_RETURN(literal->value, NewString(std::move(text), nullptr));
      return Done(std::move(literal));
    }
    case Token::Kind::kInteger:
    case Token::Kind::kFloat: {
      Mutable literal = New(Kind::kLiteral, token.at);
      literal->value = token.kind == Token::Kind::kInteger ? Value(token.integer) : Value(token.number);
      tokens_.Next();
      return Done(std::move(literal));
    }
    default:
      if (tokens_.AtOperator("(")) return ParseParentheses();
      if (tokens_.AtOperator("[")) return ParseList();
      if (tokens_.AtOperator("{")) return ParseDict();
      return tokens_.Unexpected("an expression");
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseName() {
  const Token& token = tokens_.Next();
  const std::string& name = token.text;
  Mutable expression = New(Kind::kLiteral, token.at);
  if (name == "true" || name == "True" || name == "false" || name == "False") {
    expression->value = Value(name == "true" || name == "True");
  } else if (name != "none" && name != "None") {
    expression->kind = Kind::kName;
    expression->name = name;
  }
  return Done(std::move(expression));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseParentheses() {
  const Position at = tokens_.Next().at;
  if (tokens_.SkipOperator(")")) return Done(New(Kind::kTuple, at));
  RATION_ASSIGN_OR_RETURN(ExpressionPtr inner, ParseTuple());
  RATION_RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
  return inner;
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseList() {
  Mutable list = New(Kind::kList, tokens_.Next().at);
  while (!tokens_.AtOperator("]")) {
    if (!list->operands.empty()) {
      RATION_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.AtOperator("]")) break;
    }
    RATION_ASSIGN_OR_RETURN(ExpressionPtr item, Parse());
    list->operands.push_back(std::move(item));
  }
  tokens_.Next();
  return Done(std::move(list));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseDict() {
  Mutable dict = New(Kind::kDict, tokens_.Next().at);
  while (!tokens_.AtOperator("}")) {
    if (!dict->operands.empty()) {
      RATION_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.AtOperator("}")) break;
    }
    RATION_ASSIGN_OR_RETURN(ExpressionPtr key, Parse());
    RATION_RETURN_IF_ERROR(tokens_.ExpectOperator(":"));
    RATION_ASSIGN_OR_RETURN(ExpressionPtr value, Parse());
    dict->operands.push_back(std::move(key));
    dict->operands.push_back(std::move(value));
  }
  tokens_.Next();
  return Done(std::move(dict));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParsePostfix(ExpressionPtr operand) {
  while (true) {
    if (tokens_.AtOperator(".") || tokens_.AtOperator("[")) {
      RATION_ASSIGN_OR_RETURN(operand, ParseSubscript(std::move(operand)));
    } else if (tokens_.AtOperator("(")) {
      RATION_ASSIGN_OR_RETURN(operand, ParseCall(std::move(operand)));
    } else {
      return operand;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilterChain(ExpressionPtr operand) {
  while (true) {
    if (tokens_.AtOperator("|")) {
      RATION_ASSIGN_OR_RETURN(operand, ParseFilter(std::move(operand)));
    } else if (tokens_.AtName("is")) {
      RATION_ASSIGN_OR_RETURN(operand, ParseTest(std::move(operand)));
    } else if (tokens_.AtOperator("(")) {
      RATION_ASSIGN_OR_RETURN(operand, ParseCall(std::move(operand)));
    } else {
      return operand;
    }
  }
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseSubscript(ExpressionPtr operand) {
  const Token& token = tokens_.Next();
  Mutable access = New(Kind::kItem, token.at);
  access->operands.push_back(std::move(operand));
  if (token.text == ".") {
    if (tokens_.At(Token::Kind::kInteger)) {
      RATION_ASSIGN_OR_RETURN(ExpressionPtr index, ParsePrimary());
      access->operands.push_back(std::move(index));
    } else {
      access->kind = Kind::kAttribute;
      RATION_ASSIGN_OR_RETURN(access->name, tokens_.ExpectName("a name or a number"));
    }
    return Done(std::move(access));
  }
  ExpressionPtr part;
  if (!tokens_.AtOperator(":")) {
    RATION_ASSIGN_OR_RETURN(part, Parse());
  }
  access->operands.push_back(std::move(part));
  for (int i = 0; i < 2 && tokens_.SkipOperator(":"); ++i) {
    access->kind = Kind::kSlice;
    ExpressionPtr next;
    if (!tokens_.AtOperator(":") && !tokens_.AtOperator("]")) {
      RATION_ASSIGN_OR_RETURN(next, Parse());
    }
    access->operands.push_back(std::move(next));
  }
  RATION_RETURN_IF_ERROR(tokens_.ExpectOperator("]"));
  if (access->kind == Kind::kSlice) access->operands.resize(4);
  return Done(std::move(access));
}

absl::Status ExpressionParser::ParseArguments(Expression* into) {
  RATION_RETURN_IF_ERROR(tokens_.ExpectOperator("("));
  bool first = true;
  while (!tokens_.AtOperator(")")) {
    if (!std::exchange(first, false)) {
      RATION_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      if (tokens_.AtOperator(")")) break;
    }
    if (tokens_.AtOperator("*") || tokens_.AtOperator("**")) {
      return ErrorAt(tokens_.current().at,
                     absl::StrCat("\"", tokens_.current().text, "\" before an argument is not supported"));
    }
    const Position at = tokens_.current().at;
    const bool keyword =
        tokens_.At(Token::Kind::kName) && tokens_.ahead().kind == Token::Kind::kOperator && tokens_.ahead().text == "=";
    if (keyword) {
      const std::string name = tokens_.Next().text;
      tokens_.Next();
      if (std::find(into->keywords.begin(), into->keywords.end(), name) != into->keywords.end()) {
        return ErrorAt(at, absl::StrCat("the argument ", Quoted(name), " is given twice"));
      }
      into->keywords.push_back(name);
    } else if (!into->keywords.empty()) {
      return ErrorAt(at, "an argument without a name follows one with a name");
    }
    RATION_ASSIGN_OR_RETURN(ExpressionPtr argument, Parse());
    into->operands.push_back(std::move(argument));
  }
  tokens_.Next();
  return absl::OkStatus();
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseCall(ExpressionPtr operand) {
  Mutable call = New(Kind::kCall, tokens_.current().at);
  call->operands.push_back(std::move(operand));
  RATION_RETURN_IF_ERROR(ParseArguments(call.get()));
  return Done(std::move(call));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilters() {
  if (!tokens_.AtOperator("|")) return ExpressionPtr();
  return ParseFilterChain(nullptr);
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseFilter(ExpressionPtr operand) {
  tokens_.Next();
  Mutable filter = New(Kind::kFilter, tokens_.current().at);
  RATION_ASSIGN_OR_RETURN(filter->name, tokens_.ExpectName("a filter's name"));
  filter->filter = FindFilter(filter->name);
  if (filter->filter == nullptr)
    RATION_RETURN_IF_ERROR(Unsupported(filter->at, absl::StrCat("filter ", Quoted(filter->name))));
  filter->operands.push_back(std::move(operand));
  if (tokens_.AtOperator("(")) RATION_RETURN_IF_ERROR(ParseArguments(filter.get()));
  return Done(std::move(filter));
}

absl::StatusOr<ExpressionPtr> ExpressionParser::ParseTest(ExpressionPtr operand) {
  tokens_.Next();
  const bool negated = tokens_.SkipName("not");
  Mutable test = New(Kind::kTest, tokens_.current().at);
  RATION_ASSIGN_OR_RETURN(test->name, tokens_.ExpectName("a test's name"));
  test->test = FindTest(test->name);
  if (test->test == nullptr) RATION_RETURN_IF_ERROR(Unsupported(test->at, absl::StrCat("test ", Quoted(test->name))));
  test->operands.push_back(std::move(operand));
  const Token& next = tokens_.current();
  if (tokens_.AtOperator("(")) {
    RATION_RETURN_IF_ERROR(ParseArguments(test.get()));
  } else if (next.kind == Token::Kind::kString || next.kind == Token::Kind::kInteger ||
             next.kind == Token::Kind::kFloat || tokens_.AtOperator("[") || tokens_.AtOperator("{") ||
             (next.kind == Token::Kind::kName && next.text != "else" && next.text != "or" && next.text != "and" &&
              next.text != "is" && next.text != "if" && next.text != "in" && next.text != "not")) {
    RATION_ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    RATION_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test->operands.push_back(std::move(argument));
  }
  const Position at = test->at;
  RATION_ASSIGN_OR_RETURN(ExpressionPtr tested, Done(std::move(test)));
  if (!negated) return tested;
  Mutable negation = New(Kind::kNot, at);
  negation->operands.push_back(std::move(tested));
  return Done(std::move(negation));
}

}  // namespace ration::jinja
