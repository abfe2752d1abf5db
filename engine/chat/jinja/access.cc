// The part of operators.h that looks into values.
#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/methods.h"
#include "engine/chat/jinja/operators.h"
#include "engine/chat/jinja/runtime_objects.h"
#include "engine/chat/jinja/unicode_text.h"

namespace ration::jinja {
namespace {

// An attribute of the loop object; nullopt if it has none of the name.
std::optional<Value> LoopAttribute(const Loop& loop, absl::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.items->items.size());
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(length - index);
  if (name == "revindex0") return Value(length - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == length);
  if (name == "length") return Value(length);
  // Of recursive loops, which there are none of.
  if (name == "depth") return Value(int64_t{1});
  if (name == "depth0") return Value(int64_t{0});
  if (name == "previtem") {
    return index == 0 ? Value::UndefinedBecause("there is no previous item") : loop.items->items[loop.index - 1];
  }
  if (name == "nextitem") {
    return index + 1 == length ? Value::UndefinedBecause("there is no next item") : loop.items->items[loop.index + 1];
  }
  return std::nullopt;
}

Value NoAttribute(const Value& value, absl::string_view name) {
  return Value::UndefinedBecause(absl::StrCat(Quoted(name), " is not defined in the ", value.type_name()));
}

// A method bound to its value; nullopt if there is none. An error if Python has it and templates do not.
absl::StatusOr<std::optional<Value>> Method(const Value& value, const std::string& name) {
  RATION_ASSIGN_OR_RETURN(const bool exists, HasMethod(value, name));
  if (!exists) return std::nullopt;
  Callable method;
  method.kind = Callable::Kind::kMethod;
  method.receiver = value;
  method.name = name;
  return Value(std::make_shared<const Callable>(std::move(method)));
}

// The position of `index` in a sequence of `length`, counted from the end if negative; nullopt outside.
std::optional<int64_t> InRange(int64_t index, int64_t length) {
  if (index < 0) index += length;
  return index >= 0 && index < length ? std::optional<int64_t>(index) : std::nullopt;
}

struct SliceRange {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};

absl::StatusOr<SliceRange> RangeOf(const Value& start, const Value& stop, const Value& step, int64_t length) {
  for (const Value* bound : {&start, &stop, &step}) {
    if (bound->is_undefined()) return UndefinedError(*bound);
    if (!bound->is_none() && !bound->is_integral()) {
      return absl::InvalidArgumentError(absl::StrCat("a slice needs ints, not ", bound->type_name()));
    }
  }
  SliceRange range;
  range.step = step.is_none() ? 1 : step.integer();
  if (range.step == 0) return absl::InvalidArgumentError("the step of a slice must not be 0");
  range.step = std::clamp(range.step, -length - 1, length + 1);  // a larger one takes one element too
  const bool down = range.step < 0;
  const auto clamp = [&](const Value& bound, int64_t absent) {
    if (bound.is_none()) return absent;
    int64_t at = bound.integer();
    if (at < 0) at = at < -length ? -1 : at + length;
    return std::clamp<int64_t>(at, down ? -1 : 0, down ? length - 1 : length);
  };
  range.start = clamp(start, down ? length - 1 : 0);
  const int64_t end = clamp(stop, down ? -1 : length);
  if (down) {
    range.count = range.start > end ? (range.start - end - range.step - 1) / -range.step : 0;
  } else {
    range.count = end > range.start ? (end - range.start + range.step - 1) / range.step : 0;
  }
  return range;
}

}  // namespace

absl::StatusOr<Value> GetAttribute(const Value& value, const std::string& name, RenderBudget& budget) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return UndefinedError(value);
    case Value::Kind::kNamespace: {
      const auto it = value.as_namespace()->attributes.find(name);
      return it == value.as_namespace()->attributes.end() ? NoAttribute(value, name) : it->second;
    }
    case Value::Kind::kLoop:
      if (std::optional<Value> attribute = LoopAttribute(*value.as_loop(), name)) return *std::move(attribute);
      break;
    default:
      break;
  }
  RATION_ASSIGN_OR_RETURN(std::optional<Value> method, Method(value, name));
  if (method.has_value()) return *std::move(method);
  if (value.is_dict()) {
    RATION_RETURN_IF_ERROR(budget.Steps(1));
    if (const Value* found = value.as_dict()->Find(absl::string_view(name))) return *found;
  }
  return NoAttribute(value, name);
}

absl::StatusOr<Value> GetItem(const Value& value, const Value& key, RenderBudget& budget) {
  if (value.is_undefined()) return UndefinedError(value);
  if (value.is_dict()) {
    if (key.is_string()) RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(key.as_string().size())));
    if (const Value* found = value.as_dict()->Find(key)) return *found;
  }
  if (value.is_list() && value.as_list()->form != ListForm::kLazy && key.is_integral()) {
    const std::vector<Value>& items = value.as_list()->items;
    const std::optional<int64_t> index = InRange(key.integer(), static_cast<int64_t>(items.size()));
    if (index.has_value()) return items[static_cast<size_t>(*index)];
    return Value::UndefinedBecause(absl::StrCat("the ", value.type_name(), " has no element ", key.integer()));
  }
  if (value.is_string() && key.is_integral()) {
    const absl::string_view text = value.as_string();
    RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size()) * 4));
    const std::optional<int64_t> index = InRange(key.integer(), CountCharacters(text));
    if (!index.has_value()) return Value::UndefinedBecause(absl::StrCat("the string has no element ", key.integer()));
    const absl::string_view rest = text.substr(CharacterOffset(text, *index));
    return NewString(std::string(rest.substr(0, FirstCharacterBytes(rest))), &budget);
  }
  if (key.is_string()) {
    if (value.is_namespace_or_loop()) return GetAttribute(value, key.as_string(), budget);
    RATION_ASSIGN_OR_RETURN(std::optional<Value> method, Method(value, key.as_string()));
    if (method.has_value()) return *std::move(method);
    return NoAttribute(value, key.as_string());
  }
  return Value::UndefinedBecause(absl::StrCat("the ", value.type_name(), " has no such element"));
}

absl::StatusOr<Value> Slice(const Value& value, const Value& start, const Value& stop, const Value& step,
                            RenderBudget& budget) {
  if (value.is_undefined()) return UndefinedError(value);
  if (value.is_list() && value.as_list()->form != ListForm::kLazy) {
    const std::vector<Value>& items = value.as_list()->items;
    RATION_ASSIGN_OR_RETURN(const SliceRange range, RangeOf(start, stop, step, static_cast<int64_t>(items.size())));
    RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(static_cast<size_t>(range.count))));
    std::vector<Value> taken;
    taken.reserve(static_cast<size_t>(range.count));
    for (int64_t i = 0; i < range.count; ++i) taken.push_back(items[static_cast<size_t>(range.start + i * range.step)]);
    return NewList(std::move(taken), &budget, value.as_list()->form);
  }
  if (value.is_string()) {
    const absl::string_view text = value.as_string();
    RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size()) * 4));
    RATION_ASSIGN_OR_RETURN(const SliceRange range, RangeOf(start, stop, step, CountCharacters(text)));
    if (range.step == 1) {
      const absl::string_view rest = text.substr(CharacterOffset(text, range.start));
      return NewString(std::string(rest.substr(0, CharacterOffset(rest, range.count))), &budget);
    }
    RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(text.size() * sizeof(absl::string_view))));
    const std::vector<absl::string_view> characters = SplitCharacters(text);
    std::string taken;
    for (int64_t i = 0; i < range.count; ++i) {
      absl::StrAppend(&taken, characters[static_cast<size_t>(range.start + i * range.step)]);
    }
    return NewString(std::move(taken), &budget);
  }
  return absl::InvalidArgumentError(absl::StrCat("a ", value.type_name(), " cannot be sliced"));
}

absl::StatusOr<std::shared_ptr<const List>> Elements(const Value& value, RenderBudget& budget) {
  if (value.is_list()) return value.as_list();
  std::vector<Value> elements;
  if (value.is_dict()) {
    RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(value.as_dict()->entries().size())));
    for (const Dict::Entry& entry : value.as_dict()->entries()) elements.push_back(entry.first);
  } else if (value.is_string()) {
    for (absl::string_view rest = value.as_string(); !rest.empty(); rest.remove_prefix(FirstCharacterBytes(rest))) {
      RATION_ASSIGN_OR_RETURN(Value character,
                              NewString(std::string(rest.substr(0, FirstCharacterBytes(rest))), &budget));
      elements.push_back(std::move(character));
    }
  } else if (!value.is_undefined()) {
    return absl::InvalidArgumentError(absl::StrCat("a ", value.type_name(), " has no elements to go through"));
  }
  RATION_ASSIGN_OR_RETURN(const Value list, NewList(std::move(elements), &budget));
  return list.as_list();
}

absl::StatusOr<int64_t> Length(const Value& value, RenderBudget& budget) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) {
    RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(value.as_string().size())));
    return CountCharacters(value.as_string());
  }
  if (value.is_dict()) return static_cast<int64_t>(value.as_dict()->entries().size());
  if (value.is_list() && value.as_list()->form != ListForm::kLazy)
    return static_cast<int64_t>(value.as_list()->items.size());
  if (value.is_list()) {
    return absl::InvalidArgumentError("a generator (of map, select, items, ...) has no length; use |list|length");
  }
  return absl::InvalidArgumentError(absl::StrCat("a ", value.type_name(), " has no length"));
}

}  // namespace ration::jinja
