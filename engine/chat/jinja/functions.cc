#include "engine/chat/jinja/functions.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/operators.h"
#include "engine/chat/jinja/unicode_text.h"
#include "engine/chat/jinja/value_text.h"

namespace ration::jinja {
namespace {

constexpr std::pair<absl::string_view, Function> kFunctions[] = {{"range", Function::kRange},
                                                                 {"namespace", Function::kNamespace},
                                                                 {"dict", Function::kDict},
                                                                 {"raise_exception", Function::kRaiseException},
                                                                 {"strftime_now", Function::kStrftimeNow}};
// Jinja's others.
constexpr absl::string_view kUnsupported[] = {"caller", "cycler", "joiner", "kwargs",
                                              "lipsum", "self",   "super",  "varargs"};

absl::StatusOr<Value> Range(const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"start", "stop", "step"}, 1));
  for (size_t i = 0; i < 3; ++i) {
    if (!bound.Has(i)) continue;
    if (bound[i].is_undefined()) return UndefinedError(bound[i]);
    if (!bound[i].is_integral())
      return absl::InvalidArgumentError(absl::StrCat("needs ints, not ", bound[i].type_name()));
  }
  const int64_t start = bound.Has(1) ? bound[0].integer() : 0;
  const int64_t stop = bound.Has(1) ? bound[1].integer() : bound[0].integer();
  const int64_t step = bound.Has(2) ? bound[2].integer() : 1;
  if (step == 0) return absl::InvalidArgumentError("the step must not be 0");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange) {
      return absl::InvalidArgumentError(absl::StrCat("has more than ", kMaxRange, " elements"));
    }
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return NewList(std::move(items), &budget);
}

absl::StatusOr<Value> MakeDict(const Arguments& arguments, RenderBudget& budget) {
  std::vector<Dict::Entry> entries;
  if (arguments.positional.size() > 1) return absl::InvalidArgumentError("takes at most 1 argument without a name");
  if (!arguments.positional.empty()) {
    if (!arguments.positional[0].is_dict()) {
      return absl::InvalidArgumentError(absl::StrCat("needs a dict, not ", arguments.positional[0].type_name()));
    }
    RATION_RETURN_IF_ERROR(budget.Fits(Dict::Cost(arguments.positional[0].as_dict()->entries().size())));
    entries = arguments.positional[0].as_dict()->entries();
  }
  for (const auto& [name, value] : arguments.keyword) {
    RATION_ASSIGN_OR_RETURN(Value key, NewString(name, &budget));
    entries.emplace_back(std::move(key), value);
  }
  return NewDict(std::move(entries), &budget);
}

}  // namespace

Value FindFunction(absl::string_view name) {
  for (const auto& [known, function] : kFunctions) {
    if (known != name) continue;
    Callable callable;
    callable.function = function;
    callable.name = std::string(name);
    return Value(std::make_shared<const Callable>(std::move(callable)));
  }
  for (absl::string_view unsupported : kUnsupported) {
    if (unsupported == name) return Value::UndefinedBecause(absl::StrCat(Quoted(name), " is not supported"));
  }
  return Value::UndefinedBecause(absl::StrCat(Quoted(name), " is undefined"));
}

absl::StatusOr<Value> CallFunction(Function function, const Arguments& arguments, absl::Time now,
                                   RenderBudget& budget) {
  switch (function) {
    case Function::kRange:
      return Range(arguments, budget);
    case Function::kDict:
      return MakeDict(arguments, budget);
    case Function::kRaiseException: {
      RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"message"}, 1));
      std::string message;
      RATION_RETURN_IF_ERROR(AppendText(bound[0], int64_t{1} << 20, message));
      constexpr int64_t kMaxCharacters = 500;
      message.resize(CharacterOffset(message, kMaxCharacters));
      return absl::AbortedError(message);
    }
    case Function::kStrftimeNow: {
      RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"format"}, 1));
      RATION_ASSIGN_OR_RETURN(const std::string format, bound.String(0, ""));
      RATION_ASSIGN_OR_RETURN(std::string text, FormatLocalTime(format, now));
      return NewString(std::move(text), &budget);
    }
    case Function::kNamespace:
      break;
  }
  return absl::InternalError("not a function");
}

absl::StatusOr<std::string> FormatLocalTime(absl::string_view format, absl::Time time) {
  constexpr absl::string_view kDirectives = "aAbBcdeFHIjmMpSTuUwWxXyYzZ%";
  constexpr size_t kMaxFormatBytes = 256;
  if (format.size() > kMaxFormatBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the format has more than ", kMaxFormatBytes, " bytes"));
  }
  const absl::TimeZone zone = absl::LocalTimeZone();
  std::string text;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      text += format[i];
      continue;
    }
    const bool unpadded = i + 1 < format.size() && format[i + 1] == '-';  // %-d: without zeros before
    const size_t at = i + (unpadded ? 2 : 1);
    if (at >= format.size() || kDirectives.find(format[at]) == absl::string_view::npos) {
      const absl::string_view rest = format.substr(i);
      const absl::string_view directive = rest.substr(0, CharacterOffset(rest, unpadded ? 3 : 2));
      return absl::InvalidArgumentError(absl::StrCat("the directive ", Quoted(directive), " is not supported"));
    }
    std::string part = absl::FormatTime(std::string({'%', format[at]}), time, zone);
    if (unpadded) part.erase(0, std::min(part.find_first_not_of("0 "), part.empty() ? 0 : part.size() - 1));
    text += part;
    i = at;
  }
  return text;
}

}  // namespace ration::jinja
