// Filters over texts, numbers and single values.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/filters.h"
#include "engine/chat/jinja/methods.h"
#include "engine/chat/jinja/operators.h"
#include "engine/chat/jinja/unicode_text.h"
#include "engine/chat/jinja/value_text.h"

namespace ration::jinja {
namespace {

// A method of the value's text.
template <const char* const& method>
absl::StatusOr<Value> OfText(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  Value text = value;
  if (!text.is_string()) {
    RATION_ASSIGN_OR_RETURN(std::string printed, ToText(value, budget));
    RATION_ASSIGN_OR_RETURN(text, NewString(std::move(printed), &budget));
  }
  return CallMethod(text, method, arguments, budget);
}
constexpr const char* kStrip = "strip";
constexpr const char* kUpper = "upper";
constexpr const char* kLower = "lower";
constexpr const char* kCapitalize = "capitalize";

// Words begin after white space, a hyphen or an opening bracket.
absl::StatusOr<Value> Title(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_ASSIGN_OR_RETURN(const std::string text, ToText(value, budget));
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size()) * 16));
  std::string titled;
  bool at_start = true;
  for (absl::string_view rest = text; !rest.empty(); rest.remove_prefix(FirstCharacterBytes(rest))) {
    const absl::string_view character = rest.substr(0, FirstCharacterBytes(rest));
    titled += at_start ? ToUpper(character) : ToLower(character);
    at_start = StripLeft(character).empty() || absl::string_view("-({[<").find(character) != absl::string_view::npos;
  }
  return NewString(std::move(titled), &budget);
}

absl::StatusOr<Value> Replace(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"old", "new", "count"}, 2));
  RATION_ASSIGN_OR_RETURN(const std::string text, ToText(value, budget));
  RATION_ASSIGN_OR_RETURN(const std::string from, ToText(bound[0], budget));
  RATION_ASSIGN_OR_RETURN(const std::string to, ToText(bound[1], budget));
  RATION_ASSIGN_OR_RETURN(const int64_t count, bound.Integer(2, -1));
  return ReplaceText(text, from, to, count, budget);
}

absl::StatusOr<Value> Indent(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"width", "first", "blank"}));
  RATION_ASSIGN_OR_RETURN(std::string text, ToText(value, budget));
  std::string indentation;
  if (bound.Has(0) && bound[0].is_string()) {
    indentation = bound[0].as_string();
  } else {
    RATION_ASSIGN_OR_RETURN(const int64_t width, bound.Integer(0, 4));
    RATION_RETURN_IF_ERROR(budget.Fits(width));
    indentation.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  text += '\n';  // a line feed at the end begins a line, as in Jinja
  RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(text.size() * sizeof(absl::string_view))));
  const std::vector<absl::string_view> lines = SplitLines(text);
  std::string indented;
  for (size_t i = 0; i < lines.size(); ++i) {
    RATION_RETURN_IF_ERROR(
        budget.Fits(static_cast<int64_t>(indented.size() + indentation.size() + lines[i].size()) * 2));
    if (i > 0) indented += '\n';
    const bool wanted = i == 0 ? bound.Truth(1, false) : !lines[i].empty() || bound.Truth(2, false);
    if (wanted) indented += indentation;
    absl::StrAppend(&indented, lines[i]);
  }
  return NewString(std::move(indented), &budget);
}

absl::StatusOr<Value> Escape(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_ASSIGN_OR_RETURN(const std::string text, ToText(value, budget));
  RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(text.size()) * 6));
  std::string escaped;
  for (char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      case '"':
        escaped += "&#34;";
        break;
      default:
        escaped += c;
    }
  }
  return NewString(std::move(escaped), &budget);
}

absl::StatusOr<Value> String(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (value.is_string()) return value;
  RATION_ASSIGN_OR_RETURN(std::string text, ToText(value, budget));
  return NewString(std::move(text), &budget);
}

absl::StatusOr<Value> ToJson(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound,
                          Bind(arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  if (bound.Truth(0, false)) return absl::InvalidArgumentError("ensure_ascii=true is not supported");
  JsonOptions options;
  options.sort_keys = bound.Truth(3, false);
  if (bound.Has(1) && !bound[1].is_none()) {
    RATION_ASSIGN_OR_RETURN(options.indent, bound.Integer(1, 0));
    options.item_separator = ",";
  }
  if (bound.Has(2) && !bound[2].is_none()) {
    if (!bound[2].is_list() || bound[2].as_list()->items.size() != 2 || !bound[2].as_list()->items[0].is_string() ||
        !bound[2].as_list()->items[1].is_string()) {
      return absl::InvalidArgumentError("argument \"separators\" must be two strings");
    }
    options.item_separator = bound[2].as_list()->items[0].as_string();
    options.key_separator = bound[2].as_list()->items[1].as_string();
  }
  std::string text;
  RATION_RETURN_IF_ERROR(AppendJson(value, options, (budget.limits().memory_bytes - budget.memory_bytes()) / 2, text));
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size()) * 8));
  return NewString(std::move(text), &budget);
}

absl::StatusOr<Value> Default(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"default_value", "boolean"}));
  if (!value.is_undefined() && !(bound.Truth(1, false) && !value.truth())) return value;
  if (bound.Has(0)) return bound[0];
  return NewString("", &budget);
}

// The number a text is, with white space around it.
std::optional<Value> ParseNumber(absl::string_view text) {
  text = StripLeft(StripRight(text));
  int64_t integer = 0;
  if (absl::SimpleAtoi(text, &integer)) return Value(integer);
  double number = 0;
  if (absl::SimpleAtod(text, &number)) return Value(number);
  return std::nullopt;
}

absl::StatusOr<Value> Int(const Value& value, const Arguments& arguments, RenderBudget&) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"default"}));
  const Value absent = bound.Has(0) ? bound[0] : Value(int64_t{0});
  if (value.is_undefined()) return UndefinedError(value);
  std::optional<Value> number = value.is_number() ? std::optional<Value>(value) : std::nullopt;
  if (value.is_string()) number = ParseNumber(value.as_string());
  if (!number.has_value()) return absent;
  if (number->is_integral()) return Value(number->integer());
  const double whole = std::trunc(number->as_float());
  if (!(std::fabs(whole) < 9.2e18)) return absent;
  return Value(static_cast<int64_t>(whole));
}

absl::StatusOr<Value> Float(const Value& value, const Arguments& arguments, RenderBudget&) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"default"}));
  if (value.is_undefined()) return UndefinedError(value);
  std::optional<Value> number = value.is_number() ? std::optional<Value>(value) : std::nullopt;
  if (value.is_string()) number = ParseNumber(value.as_string());
  if (!number.has_value()) return bound.Has(0) ? bound[0] : Value(0.0);
  return Value(number->number());
}

absl::Status NeedNumber(const Value& value) {
  if (value.is_number()) return absl::OkStatus();
  if (value.is_undefined()) return UndefinedError(value);
  return absl::InvalidArgumentError(absl::StrCat("needs a number, not ", value.type_name()));
}

absl::StatusOr<Value> Abs(const Value& value, const Arguments& arguments, RenderBudget&) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_RETURN_IF_ERROR(NeedNumber(value));
  if (!value.is_integral()) return Value(std::fabs(value.as_float()));
  return Signed(value.integer() < 0, Value(value.integer()));
}

absl::StatusOr<Value> Round(const Value& value, const Arguments& arguments, RenderBudget&) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"precision", "method"}));
  RATION_RETURN_IF_ERROR(NeedNumber(value));
  RATION_ASSIGN_OR_RETURN(const int64_t precision, bound.Integer(0, 0));
  RATION_ASSIGN_OR_RETURN(const std::string method, bound.String(1, "common"));
  if (precision < 0 || precision > 15) {
    return absl::InvalidArgumentError(absl::StrCat("argument \"precision\" must be in [0, 15], not ", precision));
  }
  const double number = value.number();
  if (!std::isfinite(number)) return Value(number);
  if (method == "common") {  // exact halves to even, as Python rounds
    if (value.is_integral()) return value.kind() == Value::Kind::kBool ? Value(value.integer()) : value;
    char buffer[400];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision), number);
    double rounded = 0;
    if (!absl::SimpleAtod(buffer, &rounded)) return absl::InvalidArgumentError("cannot be rounded");
    return Value(rounded);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(number * scale) / scale);
  if (method == "floor") return Value(std::floor(number * scale) / scale);
  return absl::InvalidArgumentError("argument \"method\" must be common, ceil or floor");
}

constexpr FilterEntry kFilters[] = {
    {"abs", &Abs},
    {"capitalize", &OfText<kCapitalize>},
    {"d", &Default},
    {"default", &Default},
    {"e", &Escape},
    {"escape", &Escape},
    {"float", &Float},
    {"indent", &Indent},
    {"int", &Int},
    {"lower", &OfText<kLower>},
    {"replace", &Replace},
    {"round", &Round},
    {"safe", &String},
    {"string", &String},
    {"title", &Title},
    {"tojson", &ToJson},
    {"trim", &OfText<kStrip>},
    {"upper", &OfText<kUpper>},
};

}  // namespace

absl::Span<const FilterEntry> internal::TextFilters() { return kFilters; }

}  // namespace ration::jinja
