#include "engine/chat/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/expression_parser.h"
#include "engine/chat/jinja/lexer.h"
#include "engine/chat/jinja/token_stream.h"

namespace ration::jinja {
namespace {

using Kind = Statement::Kind;
using StatementPtr = std::unique_ptr<const Statement>;
using Mutable = std::unique_ptr<Statement>;

// Jinja's statements that no chat template of the supported families uses.
constexpr absl::string_view kUnsupported[] = {"autoescape", "block",  "call",  "debug",  "do",
                                              "extends",    "filter", "from",  "import", "include",
                                              "pluralize",  "print",  "trans", "with"};

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), expressions_(&tokens_) {}

  absl::StatusOr<Body> Run() { return ParseBody({}, ""); }

 private:
  // Statements up to one of the tags `ends`, whose name is then current; to the end of the template if there are none.
  // `opener` names the statement that needs them.
  absl::StatusOr<Body> ParseBody(std::initializer_list<absl::string_view> ends, absl::string_view opener) {
    if (++depth_ > kMaxStatementDepth) {
      return ErrorAt(tokens_.current().at, absl::StrCat("statements nest deeper than ", kMaxStatementDepth, " levels"));
    }
    const absl::Cleanup leave = [this] { --depth_; };
    Body body;
    while (true) {
      const Token& token = tokens_.current();
      switch (token.kind) {
        case Token::Kind::kData: {
          Mutable text = New(Kind::kText, token.at);
          text->text = token.text;
          body.push_back(std::move(text));
          tokens_.Next();
          break;
        }
        case Token::Kind::kVariableBegin: {
          tokens_.Next();
          Mutable print = New(Kind::kPrint, token.at);
          RATION_ASSIGN_OR_RETURN(print->expression, expressions_.ParseTuple());
          RATION_RETURN_IF_ERROR(tokens_.Expect(Token::Kind::kVariableEnd, "\"}}\""));
          body.push_back(std::move(print));
          break;
        }
        case Token::Kind::kBlockBegin: {
          tokens_.Next();
          const Token& name = tokens_.current();
          if (name.kind == Token::Kind::kName && std::find(ends.begin(), ends.end(), name.text) != ends.end())
            return body;
          RATION_ASSIGN_OR_RETURN(StatementPtr statement, ParseStatement(opener));
          body.push_back(std::move(statement));
          break;
        }
        default:
          if (ends.size() == 0) return body;
          return ErrorAt(token.at, absl::StrCat("the template ends inside \"", opener, "\""));
      }
    }
  }

  absl::StatusOr<StatementPtr> ParseStatement(absl::string_view opener) {
    const Position at = tokens_.current().at;
    RATION_ASSIGN_OR_RETURN(const std::string name, tokens_.ExpectName("a statement"));
    if (name == "for") return ParseFor(at);
    if (name == "if") return ParseIf(at);
    if (name == "set") return ParseSet(at);
    if (name == "macro") return ParseMacro(at);
    if (name == "generation") return ParseGeneration(at);
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return ErrorAt(at, absl::StrCat("\"", name, "\" stands outside a for statement"));
      RATION_RETURN_IF_ERROR(EndTag());
      return StatementPtr(New(name == "break" ? Kind::kBreak : Kind::kContinue, at));
    }
    if (std::find(std::begin(kUnsupported), std::end(kUnsupported), name) != std::end(kUnsupported)) {
      return ErrorAt(at, absl::StrCat("statement \"", name, "\" is not supported"));
    }
    return ErrorAt(at, absl::StrCat("unknown statement ", Quoted(name),
                                    opener.empty() ? "" : absl::StrCat(" inside \"", opener, "\"")));
  }

  absl::StatusOr<StatementPtr> ParseFor(Position at) {
    Mutable loop = New(Kind::kFor, at);
    RATION_RETURN_IF_ERROR(ParseTargets(/*attributes=*/false, loop.get()));
    if (!tokens_.SkipName("in")) return tokens_.Unexpected("\"in\"");
    RATION_ASSIGN_OR_RETURN(loop->expression, expressions_.ParseTupleWithoutConditional());
    if (tokens_.SkipName("if")) {
      RATION_ASSIGN_OR_RETURN(loop->condition, expressions_.Parse());
    }
    if (tokens_.AtName("recursive")) return ErrorAt(tokens_.current().at, "\"recursive\" is not supported");
    RATION_RETURN_IF_ERROR(EndTag());
    {
      ++loops_;
      ++scopes_;
      const absl::Cleanup leave = [this] { --loops_, --scopes_; };
      RATION_ASSIGN_OR_RETURN(loop->body, ParseBody({"endfor", "else"}, "for"));
    }
    if (tokens_.SkipName("else")) {
      RATION_RETURN_IF_ERROR(EndTag());
      ++scopes_;
      const absl::Cleanup leave = [this] { --scopes_; };
      RATION_ASSIGN_OR_RETURN(loop->otherwise, ParseBody({"endfor"}, "for"));
    }
    RATION_RETURN_IF_ERROR(EndTag("endfor"));
    return StatementPtr(std::move(loop));
  }

  absl::StatusOr<StatementPtr> ParseIf(Position at) {
    Mutable choice = New(Kind::kIf, at);
    expressions_.EnterConditional();
    const absl::Cleanup leave = [this] { expressions_.LeaveConditional(); };
    while (true) {
      Statement::Branch branch;
      RATION_ASSIGN_OR_RETURN(branch.condition, expressions_.ParseTupleWithoutConditional());
      RATION_RETURN_IF_ERROR(EndTag());
      RATION_ASSIGN_OR_RETURN(branch.body, ParseBody({"elif", "else", "endif"}, "if"));
      choice->branches.push_back(std::move(branch));
      if (!tokens_.SkipName("elif")) break;
    }
    if (tokens_.SkipName("else")) {
      RATION_RETURN_IF_ERROR(EndTag());
      RATION_ASSIGN_OR_RETURN(choice->otherwise, ParseBody({"endif"}, "if"));
    }
    RATION_RETURN_IF_ERROR(EndTag("endif"));
    return StatementPtr(std::move(choice));
  }

  absl::StatusOr<StatementPtr> ParseSet(Position at) {
    Mutable set = New(Kind::kSet, at);
    RATION_RETURN_IF_ERROR(ParseTargets(/*attributes=*/true, set.get()));
    if (tokens_.SkipOperator("=")) {
      RATION_ASSIGN_OR_RETURN(set->expression, expressions_.ParseTuple());
      RATION_RETURN_IF_ERROR(EndTag());
      return StatementPtr(std::move(set));
    }
    set->kind = Kind::kSetBlock;
    if (set->unpack) return tokens_.Unexpected("\"=\"");
    RATION_ASSIGN_OR_RETURN(set->expression, expressions_.ParseFilters());
    RATION_RETURN_IF_ERROR(EndTag());
    RATION_ASSIGN_OR_RETURN(set->body, ParseSeparateBody("endset", "set"));
    return StatementPtr(std::move(set));
  }

  absl::StatusOr<StatementPtr> ParseMacro(Position at) {
    if (scopes_ > 0) return ErrorAt(at, "a macro inside a for statement, a macro or a block is not supported");
    auto macro = std::make_unique<Macro>();
    RATION_ASSIGN_OR_RETURN(macro->name, tokens_.ExpectName("the macro's name"));
    RATION_RETURN_IF_ERROR(tokens_.ExpectOperator("("));
    while (!tokens_.AtOperator(")")) {
      if (!macro->parameters.empty()) RATION_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      const Position parameter_at = tokens_.current().at;
      Macro::Parameter parameter;
      RATION_ASSIGN_OR_RETURN(parameter.name, tokens_.ExpectName("a parameter's name"));
      for (const Macro::Parameter& other : macro->parameters) {
        if (other.name == parameter.name) {
          return ErrorAt(parameter_at, absl::StrCat("the parameter ", Quoted(parameter.name), " occurs twice"));
        }
      }
      if (tokens_.SkipOperator("=")) {
        RATION_ASSIGN_OR_RETURN(parameter.default_value, expressions_.Parse());
      } else if (!macro->parameters.empty() && macro->parameters.back().default_value != nullptr) {
        return ErrorAt(parameter_at, "a parameter without a default follows one with a default");
      }
      macro->parameters.push_back(std::move(parameter));
    }
    tokens_.Next();
    RATION_RETURN_IF_ERROR(EndTag());
    RATION_ASSIGN_OR_RETURN(macro->body, ParseSeparateBody("endmacro", "macro"));
    Mutable statement = New(Kind::kMacro, at);
    statement->macro = std::move(macro);
    return StatementPtr(std::move(statement));
  }

  absl::StatusOr<StatementPtr> ParseGeneration(Position at) {
    RATION_RETURN_IF_ERROR(EndTag());
    Mutable scope = New(Kind::kScope, at);
    RATION_ASSIGN_OR_RETURN(scope->body, ParseSeparateBody("endgeneration", "generation"));
    return StatementPtr(std::move(scope));
  }

  // A body that break and continue cannot leave, with its end.
  absl::StatusOr<Body> ParseSeparateBody(absl::string_view end, absl::string_view opener) {
    const int loops = std::exchange(loops_, 0);
    ++scopes_;
    const absl::Cleanup leave = [this, loops] {
      loops_ = loops;
      --scopes_;
    };
    RATION_ASSIGN_OR_RETURN(Body body, ParseBody({end}, opener));
    tokens_.Next();
    // Jinja takes the name again after endmacro; no other end tag does.
    if (end == "endmacro" && tokens_.At(Token::Kind::kName)) tokens_.Next();
    RATION_RETURN_IF_ERROR(EndTag());
    return body;
  }

  absl::Status ParseTargets(bool attributes, Statement* into) {
    const bool parenthesis = tokens_.SkipOperator("(");
    do {
      if (!into->targets.empty() && !tokens_.At(Token::Kind::kName)) break;  // a comma at the end
      Target target;
      target.at = tokens_.current().at;
      RATION_ASSIGN_OR_RETURN(target.name, tokens_.ExpectName("a name to assign to"));
      for (absl::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
        if (target.name == constant)
          return ErrorAt(target.at, absl::StrCat("\"", constant, "\" cannot be assigned to"));
      }
      if (attributes && tokens_.SkipOperator(".")) {
        RATION_ASSIGN_OR_RETURN(target.attribute, tokens_.ExpectName("an attribute's name"));
      }
      into->targets.push_back(std::move(target));
      if (!tokens_.AtOperator(",")) break;
      into->unpack = true;
    } while (tokens_.SkipOperator(",") && !tokens_.AtName("in"));
    if (parenthesis) RATION_RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
    return absl::OkStatus();
  }

  absl::Status EndTag() { return tokens_.Expect(Token::Kind::kBlockEnd, "\"%}\""); }
  absl::Status EndTag(absl::string_view name) {
    if (!tokens_.SkipName(name)) return tokens_.Unexpected(absl::StrCat("\"", name, "\""));
    return EndTag();
  }

  static Mutable New(Kind kind, Position at) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->at = at;
    return statement;
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;   // of bodies
  int loops_ = 0;   // for statements that break would leave
  int scopes_ = 0;  // statements around with names of their own
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(absl::string_view source) {
  RATION_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace ration::jinja
