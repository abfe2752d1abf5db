#include "engine/chat/jinja/methods.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/operators.h"
#include "engine/chat/jinja/runtime_objects.h"
#include "engine/chat/jinja/unicode_text.h"
#include "engine/chat/jinja/value_text.h"
#include "engine/tokenizer/utf8.h"

namespace ration::jinja {
namespace {

using StringMethod = absl::StatusOr<Value> (*)(const Value& receiver, const Arguments& arguments, RenderBudget& budget);

enum class Side { kLeft, kRight, kBoth };

template <Side side>
absl::StatusOr<Value> Strip(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"chars"}));
  RATION_ASSIGN_OR_RETURN(const std::string characters, bound.String(0, ""));
  const bool white_space = !bound.Has(0) || bound[0].is_none();
  absl::string_view text = receiver.as_string();
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size() * (1 + characters.size() / 16))));
  if (side != Side::kRight) text = white_space ? StripLeft(text) : StripLeft(text, characters);
  if (side != Side::kLeft) text = white_space ? StripRight(text) : StripRight(text, characters);
  return NewString(std::string(text), &budget);
}

template <std::string (*map)(absl::string_view)>
absl::StatusOr<Value> Map(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(receiver.as_string().size()) * 2));
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(receiver.as_string().size()) * 8));
  return NewString(map(receiver.as_string()), &budget);
}

absl::StatusOr<Value> Pieces(const std::vector<absl::string_view>& pieces, RenderBudget& budget) {
  std::vector<Value> items;
  for (absl::string_view piece : pieces) {
    RATION_ASSIGN_OR_RETURN(Value item, NewString(std::string(piece), &budget));
    items.push_back(std::move(item));
  }
  return NewList(std::move(items), &budget);
}

// split() and rsplit().
template <bool from_right>
absl::StatusOr<Value> Split(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"sep", "maxsplit"}));
  RATION_ASSIGN_OR_RETURN(const std::string separator, bound.String(0, ""));
  RATION_ASSIGN_OR_RETURN(int64_t left, bound.Integer(1, -1));
  const bool white_space = !bound.Has(0) || bound[0].is_none();
  if (!white_space && separator.empty()) return absl::InvalidArgumentError("split: the separator must not be empty");
  if (left < 0) left = INT64_MAX;
  absl::string_view rest = receiver.as_string();
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(rest.size()) * 4));
  RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(rest.size())));
  std::vector<absl::string_view> pieces;
  const auto count_piece = [&](absl::string_view piece) {
    pieces.push_back(piece);
    return budget.Fits(static_cast<int64_t>(pieces.size()) * 128);
  };
  if (white_space) {
    rest = from_right ? StripRight(rest) : StripLeft(rest);
    while (!rest.empty() && left-- > 0) {
      // The word at the end that is cut from.
      size_t begin = 0, end = 0;
      if (from_right) {
        end = rest.size();
        begin = end;
        while (begin > 0) {
          const size_t last = LastCharOffset(rest.substr(0, begin));
          if (IsPythonSpace(FirstCodePoint(rest.substr(last)))) break;
          begin = last;
        }
      } else {
        while (end < rest.size() && !IsPythonSpace(FirstCodePoint(rest.substr(end))))
          end += FirstCharacterBytes(rest.substr(end));
      }
      RATION_RETURN_IF_ERROR(count_piece(rest.substr(begin, end - begin)));
      rest = from_right ? StripRight(rest.substr(0, begin)) : StripLeft(rest.substr(end));
    }
    if (!rest.empty()) RATION_RETURN_IF_ERROR(count_piece(rest));
  } else {
    while (left-- > 0) {
      const size_t at = from_right ? rest.rfind(separator) : rest.find(separator);
      if (at == absl::string_view::npos) break;
      RATION_RETURN_IF_ERROR(count_piece(from_right ? rest.substr(at + separator.size()) : rest.substr(0, at)));
      rest = from_right ? rest.substr(0, at) : rest.substr(at + separator.size());
    }
    RATION_RETURN_IF_ERROR(count_piece(rest));
  }
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return Pieces(pieces, budget);
}

absl::StatusOr<Value> SplitLinesMethod(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(receiver.as_string().size() * sizeof(absl::string_view))));
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(receiver.as_string().size()) * 8));
  return Pieces(SplitLines(receiver.as_string()), budget);
}

// startswith and endswith, of one text or a tuple of them.
template <bool at_start>
absl::StatusOr<Value> HasAffix(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"prefix"}, 1));
  std::vector<Value> affixes = {bound[0]};
  if (bound[0].is_list() && bound[0].as_list()->form == ListForm::kTuple) affixes = bound[0].as_list()->items;
  for (const Value& affix : affixes) {
    RATION_RETURN_IF_ERROR(budget.Steps(1));
    if (affix.is_undefined()) return UndefinedError(affix);
    if (!affix.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat("startswith and endswith need strings, not ", affix.type_name()));
    }
    const std::string& text = receiver.as_string();
    if (at_start ? absl::StartsWith(text, affix.as_string()) : absl::EndsWith(text, affix.as_string()))
      return Value(true);
  }
  return Value(false);
}

template <bool at_start>
absl::StatusOr<Value> RemoveAffix(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"affix"}, 1));
  RATION_ASSIGN_OR_RETURN(const std::string affix, bound.String(0, ""));
  absl::string_view text = receiver.as_string();
  if (at_start && absl::StartsWith(text, affix)) text.remove_prefix(affix.size());
  if (!at_start && absl::EndsWith(text, affix)) text.remove_suffix(affix.size());
  return NewString(std::string(text), &budget);
}

absl::StatusOr<Value> Replace(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"old", "new", "count"}, 2));
  RATION_ASSIGN_OR_RETURN(const std::string from, bound.String(0, ""));
  RATION_ASSIGN_OR_RETURN(const std::string to, bound.String(1, ""));
  RATION_ASSIGN_OR_RETURN(const int64_t count, bound.Integer(2, -1));
  return ReplaceText(receiver.as_string(), from, to, count, budget);
}

// find and rfind.
template <bool from_right>
absl::StatusOr<Value> Find(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"sub"}, 1));
  RATION_ASSIGN_OR_RETURN(const std::string wanted, bound.String(0, ""));
  const absl::string_view text = receiver.as_string();
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size()) * 4));
  const size_t at = from_right ? text.rfind(wanted) : text.find(wanted);
  return Value(at == absl::string_view::npos ? int64_t{-1} : CountCharacters(text.substr(0, at)));
}

absl::StatusOr<Value> Count(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"sub"}, 1));
  RATION_ASSIGN_OR_RETURN(const std::string wanted, bound.String(0, ""));
  absl::string_view rest = receiver.as_string();
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(rest.size()) * 4));
  if (wanted.empty()) return Value(CountCharacters(rest) + 1);
  int64_t count = 0;
  for (size_t at = rest.find(wanted); at != absl::string_view::npos; at = rest.find(wanted, at + wanted.size()))
    ++count;
  return Value(count);
}

absl::StatusOr<Value> Join(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"iterable"}, 1));
  RATION_ASSIGN_OR_RETURN(const std::shared_ptr<const List> parts, Elements(bound[0], budget));
  std::string text;
  for (size_t i = 0; i < parts->items.size(); ++i) {
    const Value& part = parts->items[i];
    if (!part.is_string())
      return absl::InvalidArgumentError(absl::StrCat("join: element ", i, " is a ", part.type_name()));
    RATION_RETURN_IF_ERROR(
        budget.Fits(static_cast<int64_t>(text.size() + receiver.as_string().size() + part.as_string().size()) * 2));
    if (i > 0) text += receiver.as_string();
    text += part.as_string();
  }
  return NewString(std::move(text), &budget);
}

// isdigit and its like: true of every character, and there is one.
template <bool (*is)(char32_t)>
absl::StatusOr<Value> AllCharacters(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(receiver.as_string().size()) * 8));
  for (absl::string_view rest = receiver.as_string(); !rest.empty(); rest.remove_prefix(FirstCharacterBytes(rest))) {
    if (!is(FirstCodePoint(rest))) return Value(false);
  }
  return Value(!receiver.as_string().empty());
}

// isupper and islower: no character of the other case, and one of this.
template <bool upper>
absl::StatusOr<Value> InCase(const Value& receiver, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(receiver.as_string().size()) * 8));
  bool any = false;
  for (absl::string_view rest = receiver.as_string(); !rest.empty(); rest.remove_prefix(FirstCharacterBytes(rest))) {
    const char32_t c = FirstCodePoint(rest);
    if (upper ? IsLower(c) : IsUpper(c)) return Value(false);
    any = any || (upper ? IsUpper(c) : IsLower(c));
  }
  return Value(any);
}

constexpr std::pair<absl::string_view, StringMethod> kStringMethods[] = {
    {"capitalize", &Map<&Capitalize>},
    {"count", &Count},
    {"endswith", &HasAffix<false>},
    {"find", &Find<false>},
    {"isalpha", &AllCharacters<&IsAlpha>},
    {"isdigit", &AllCharacters<&IsDecimalOrDigit>},
    {"islower", &InCase<false>},
    {"isspace", &AllCharacters<&IsPythonSpace>},
    {"isupper", &InCase<true>},
    {"join", &Join},
    {"lower", &Map<&ToLower>},
    {"lstrip", &Strip<Side::kLeft>},
    {"removeprefix", &RemoveAffix<true>},
    {"removesuffix", &RemoveAffix<false>},
    {"replace", &Replace},
    {"rfind", &Find<true>},
    {"rsplit", &Split<true>},
    {"rstrip", &Strip<Side::kRight>},
    {"split", &Split<false>},
    {"splitlines", &SplitLinesMethod},
    {"startswith", &HasAffix<true>},
    {"strip", &Strip<Side::kBoth>},
    {"title", &Map<&TitleCase>},
    {"upper", &Map<&ToUpper>},
};
constexpr absl::string_view kDictMethods[] = {"get", "items", "keys", "values"};
constexpr absl::string_view kLoopMethods[] = {"changed", "cycle"};

// Python's others. What changes a value is not safe in Jinja's immutable sandbox either.
constexpr absl::string_view kOtherStringMethods[] = {
    "casefold",  "center",    "encode",       "expandtabs", "format",      "format_map", "index", "isalnum",
    "isascii",   "isdecimal", "isidentifier", "isnumeric",  "isprintable", "istitle",    "ljust", "maketrans",
    "partition", "rindex",    "rjust",        "rpartition", "swapcase",    "translate",  "zfill"};
constexpr absl::string_view kOtherDictMethods[] = {"clear",   "copy",       "fromkeys", "pop",
                                                   "popitem", "setdefault", "update"};
constexpr absl::string_view kOtherListMethods[] = {"append", "clear", "copy",   "count",   "extend", "index",
                                                   "insert", "pop",   "remove", "reverse", "sort"};

template <typename Names>
bool Among(const Names& names, absl::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

const std::pair<absl::string_view, StringMethod>* FindStringMethod(absl::string_view name) {
  const auto* const found = std::find_if(std::begin(kStringMethods), std::end(kStringMethods),
                                         [name](const auto& entry) { return entry.first == name; });
  return found == std::end(kStringMethods) ? nullptr : found;
}

absl::StatusOr<Value> CallDictMethod(const Dict& dict, absl::string_view name, const Arguments& arguments,
                                     RenderBudget& budget) {
  if (name == "get") {
    RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"key", "default"}, 1));
    const Value* const found = dict.Find(bound[0]);
    if (found != nullptr) return *found;
    return bound.Has(1) ? bound[1] : Value();
  }
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(dict.entries().size())));
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries()) {
    if (name == "keys") {
      items.push_back(key);
    } else if (name == "values") {
      items.push_back(value);
    } else {
      RATION_ASSIGN_OR_RETURN(Value pair, NewList({key, value}, &budget, ListForm::kTuple));
      items.push_back(std::move(pair));
    }
  }
  return NewList(std::move(items), &budget);
}

absl::StatusOr<Value> CallLoopMethod(Loop& loop, absl::string_view name, const Arguments& arguments,
                                     RenderBudget& budget) {
  if (!arguments.keyword.empty()) return absl::InvalidArgumentError("takes no arguments with a name");
  if (name == "cycle") {
    if (arguments.positional.empty()) return absl::InvalidArgumentError("needs an argument");
    return arguments.positional[loop.index % arguments.positional.size()];
  }
  bool changed = !loop.changed_called || loop.changed.size() != arguments.positional.size();
  for (size_t i = 0; !changed && i < loop.changed.size(); ++i) {
    RATION_ASSIGN_OR_RETURN(const bool equal, Equal(loop.changed[i], arguments.positional[i], budget));
    changed = !equal;
  }
  loop.changed_called = true;
  loop.changed = arguments.positional;
  return Value(changed);
}

}  // namespace

absl::StatusOr<bool> HasMethod(const Value& value, absl::string_view name) {
  bool unsupported = false;
  switch (value.kind()) {
    case Value::Kind::kString:
      if (FindStringMethod(name) != nullptr) return true;
      unsupported = Among(kOtherStringMethods, name);
      break;
    case Value::Kind::kDict:
      if (Among(kDictMethods, name)) return true;
      unsupported = Among(kOtherDictMethods, name) && value.as_dict()->Find(name) == nullptr;
      break;
    case Value::Kind::kList:
      unsupported = Among(kOtherListMethods, name);
      break;
    case Value::Kind::kLoop:
      return Among(kLoopMethods, name);
    default:
      break;
  }
  if (unsupported)
    return absl::InvalidArgumentError(
        absl::StrCat("method ", Quoted(name), " of a ", value.type_name(), " is not supported"));
  return false;
}

absl::StatusOr<Value> CallMethod(const Value& receiver, absl::string_view name, const Arguments& arguments,
                                 RenderBudget& budget) {
  if (receiver.is_string()) return FindStringMethod(name)->second(receiver, arguments, budget);
  if (receiver.is_dict()) return CallDictMethod(*receiver.as_dict(), name, arguments, budget);
  return CallLoopMethod(*receiver.as_loop(), name, arguments, budget);
}

absl::StatusOr<Value> ReplaceText(absl::string_view text, absl::string_view from, absl::string_view to, int64_t count,
                                  RenderBudget& budget) {
  if (count < 0) count = INT64_MAX;
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size()) * 4));
  std::string replaced;
  const auto add = [&](absl::string_view piece) {
    RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(replaced.size() + piece.size()) * 2));
    replaced.append(piece.data(), piece.size());
    return absl::OkStatus();
  };
  absl::string_view rest = text;
  while (count-- > 0) {
    if (from.empty()) {  // before every character, and at the end
      RATION_RETURN_IF_ERROR(add(to));
      if (rest.empty()) break;
      const size_t bytes = FirstCharacterBytes(rest);
      RATION_RETURN_IF_ERROR(add(rest.substr(0, bytes)));
      rest.remove_prefix(bytes);
      continue;
    }
    const size_t at = rest.find(from);
    if (at == absl::string_view::npos) break;
    RATION_RETURN_IF_ERROR(add(rest.substr(0, at)));
    RATION_RETURN_IF_ERROR(add(to));
    rest.remove_prefix(at + from.size());
  }
  RATION_RETURN_IF_ERROR(add(rest));
  return NewString(std::move(replaced), &budget);
}

}  // namespace ration::jinja
