// Filters over lists, dicts and other things with elements.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/filters.h"
#include "engine/chat/jinja/operators.h"
#include "engine/chat/jinja/unicode_text.h"
#include "engine/chat/jinja/value_tests.h"
#include "engine/chat/jinja/value_text.h"

namespace ration::jinja {
namespace {

using ListPtr = std::shared_ptr<const List>;

// "a.b.0" of a value, as attribute= takes it. A part that is not there leaves undefined.
absl::StatusOr<Value> ByPath(const Value& value, const Value& path, RenderBudget& budget) {
  if (!path.is_string()) return GetItem(value, path, budget);
  Value found = value;
  for (absl::string_view part : absl::StrSplit(path.as_string(), '.')) {
    int64_t index = 0;
    const bool number = !part.empty() && absl::c_all_of(part, [](char c) {
      return absl::ascii_isdigit(static_cast<unsigned char>(c));
    }) && absl::SimpleAtoi(part, &index);
    Value key(index);
    if (!number) {
      RATION_ASSIGN_OR_RETURN(key, NewString(std::string(part), &budget));
    }
    RATION_ASSIGN_OR_RETURN(found, GetItem(found, key, budget));
  }
  return found;
}

// How elements are compared: an attribute of each if one is named, texts without regard to case unless asked for.
class KeyOf {
 public:
  KeyOf(const BoundArguments& bound, size_t case_sensitive, size_t attribute)
      : fold_(!bound.Truth(case_sensitive, false)),
        path_(bound.Has(attribute) && !bound[attribute].is_none() ? std::optional<Value>(bound[attribute])
                                                                  : std::nullopt) {}

  absl::StatusOr<Value> operator()(const Value& element, RenderBudget& budget) const {
    Value key = element;
    if (path_.has_value()) {
      RATION_ASSIGN_OR_RETURN(key, ByPath(element, *path_, budget));
    }
    if (!fold_ || !key.is_string()) return key;
    RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(key.as_string().size()) * 8));
    return NewString(ToLower(key.as_string()), &budget);
  }

 private:
  const bool fold_;
  const std::optional<Value> path_;
};

using Keyed = std::pair<Value, Value>;  // key, element

absl::StatusOr<std::vector<Keyed>> WithKeys(const Value& value, const KeyOf& key_of, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(elements->items.size() * sizeof(Keyed)) * 2));
  std::vector<Keyed> keyed;
  keyed.reserve(elements->items.size());
  for (const Value& element : elements->items) {
    RATION_ASSIGN_OR_RETURN(Value key, key_of(element, budget));
    keyed.emplace_back(std::move(key), element);
  }
  return keyed;
}

absl::Status SortByKey(std::vector<Keyed>* keyed, bool reverse, RenderBudget& budget) {
  absl::Status failed;
  // A merge sort is safe with an order that is none (NaN, an error half-way).
  std::stable_sort(keyed->begin(), keyed->end(), [&](const Keyed& a, const Keyed& b) {
    if (!failed.ok()) return false;
    const absl::StatusOr<int> order = reverse ? Order(b.first, a.first, budget) : Order(a.first, b.first, budget);
    if (!order.ok()) failed = order.status();
    return order.ok() && *order < 0;
  });
  return failed;
}

absl::StatusOr<Value> Sort(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"reverse", "case_sensitive", "attribute"}));
  RATION_ASSIGN_OR_RETURN(std::vector<Keyed> keyed, WithKeys(value, KeyOf(bound, 1, 2), budget));
  RATION_RETURN_IF_ERROR(SortByKey(&keyed, bound.Truth(0, false), budget));
  std::vector<Value> items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.second));
  return NewList(std::move(items), &budget);
}

absl::StatusOr<Value> DictSort(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"case_sensitive", "by", "reverse"}));
  RATION_ASSIGN_OR_RETURN(const std::string by, bound.String(1, "key"));
  if (by != "key" && by != "value") return absl::InvalidArgumentError("argument \"by\" must be \"key\" or \"value\"");
  if (!value.is_dict()) return absl::InvalidArgumentError(absl::StrCat("needs a dict, not ", value.type_name()));
  std::vector<Keyed> keyed;
  for (const auto& [key, item] : value.as_dict()->entries()) {
    RATION_ASSIGN_OR_RETURN(Value pair, NewList({key, item}, &budget, ListForm::kTuple));
    Value order = by == "key" ? key : item;
    if (order.is_string() && !bound.Truth(0, false)) {
      RATION_ASSIGN_OR_RETURN(order, NewString(ToLower(order.as_string()), &budget));
    }
    keyed.emplace_back(std::move(order), std::move(pair));
  }
  RATION_RETURN_IF_ERROR(SortByKey(&keyed, bound.Truth(2, false), budget));
  std::vector<Value> items;
  for (Keyed& entry : keyed) items.push_back(std::move(entry.second));
  return NewList(std::move(items), &budget);
}

absl::StatusOr<Value> Unique(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"case_sensitive", "attribute"}));
  RATION_ASSIGN_OR_RETURN(const std::vector<Keyed> keyed, WithKeys(value, KeyOf(bound, 0, 1), budget));
  std::vector<Value> items;
  std::vector<const Value*> seen;
  for (const auto& [key, element] : keyed) {
    bool known = false;
    for (size_t i = 0; !known && i < seen.size(); ++i) {
      RATION_ASSIGN_OR_RETURN(known, Equal(*seen[i], key, budget));
    }
    if (known) continue;
    seen.push_back(&key);
    items.push_back(element);
  }
  return NewList(std::move(items), &budget, ListForm::kLazy);
}

template <bool largest>
absl::StatusOr<Value> Extreme(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"case_sensitive", "attribute"}));
  RATION_ASSIGN_OR_RETURN(const std::vector<Keyed> keyed, WithKeys(value, KeyOf(bound, 0, 1), budget));
  if (keyed.empty()) return Value::UndefinedBecause("min or max of nothing");
  size_t best = 0;
  for (size_t i = 1; i < keyed.size(); ++i) {
    RATION_ASSIGN_OR_RETURN(const int order, Order(keyed[i].first, keyed[best].first, budget));
    if (largest ? order > 0 : order < 0) best = i;
  }
  return keyed[best].second;
}

absl::StatusOr<Value> Sum(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"attribute", "start"}));
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  Value sum = bound.Has(1) ? bound[1] : Value(int64_t{0});
  for (const Value& element : elements->items) {
    Value part = element;
    if (bound.Has(0) && !bound[0].is_none()) {
      RATION_ASSIGN_OR_RETURN(part, ByPath(element, bound[0], budget));
    }
    RATION_ASSIGN_OR_RETURN(sum, Arithmetic(Operator::kAdd, sum, part, budget));
  }
  return sum;
}

absl::StatusOr<Value> Join(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"d", "attribute"}));
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  std::string separator;
  if (bound.Has(0)) {
    RATION_ASSIGN_OR_RETURN(separator, ToText(bound[0], budget));
  }
  std::string text;
  for (size_t i = 0; i < elements->items.size(); ++i) {
    Value part = elements->items[i];
    if (bound.Has(1) && !bound[1].is_none()) {
      RATION_ASSIGN_OR_RETURN(part, ByPath(part, bound[1], budget));
    }
    RATION_ASSIGN_OR_RETURN(const std::string printed, ToText(part, budget));
    RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(text.size() + separator.size() + printed.size()) * 2));
    if (i > 0) text += separator;
    text += printed;
  }
  return NewString(std::move(text), &budget);
}

template <bool last>
absl::StatusOr<Value> End(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (value.is_string() && !value.as_string().empty()) return GetItem(value, Value(int64_t{last ? -1 : 0}), budget);
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  if (elements->items.empty()) return Value::UndefinedBecause("an empty sequence has no first or last element");
  return last ? elements->items.back() : elements->items.front();
}

absl::StatusOr<Value> ToList(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(elements->items.size())));
  return NewList(elements->items, &budget);
}

absl::StatusOr<Value> Reverse(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  if (value.is_string()) return Slice(value, Value(), Value(), Value(int64_t{-1}), budget);
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(elements->items.size())));
  return NewList(std::vector<Value>(elements->items.rbegin(), elements->items.rend()), &budget, ListForm::kLazy);
}

absl::StatusOr<Value> Count(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  RATION_ASSIGN_OR_RETURN(const int64_t length, Length(value, budget));
  return Value(length);
}

absl::StatusOr<Value> Items(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(Bind(arguments, {}).status());
  std::vector<Value> items;
  if (!value.is_undefined() && !value.is_dict()) {
    return absl::InvalidArgumentError(absl::StrCat("needs a dict, not ", value.type_name()));
  }
  if (value.is_dict()) {
    for (const auto& [key, item] : value.as_dict()->entries()) {
      RATION_ASSIGN_OR_RETURN(Value pair, NewList({key, item}, &budget, ListForm::kTuple));
      items.push_back(std::move(pair));
    }
  }
  return NewList(std::move(items), &budget, ListForm::kLazy);
}

// The arguments after the first `used`.
Arguments Rest(const Arguments& arguments, size_t used) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(used), arguments.positional.end());
  rest.keyword = arguments.keyword;
  return rest;
}

absl::StatusOr<Value> Map(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(elements->items.size())));
  std::vector<Value> items;
  if (arguments.positional.empty()) {
    RATION_ASSIGN_OR_RETURN(const BoundArguments bound, Bind(arguments, {"attribute", "default"}, 1));
    for (const Value& element : elements->items) {
      RATION_ASSIGN_OR_RETURN(Value item, ByPath(element, bound[0], budget));
      items.push_back(item.is_undefined() && bound.Has(1) ? bound[1] : std::move(item));
    }
  } else {
    if (!arguments.positional[0].is_string()) return absl::InvalidArgumentError("needs a filter's name");
    const std::string& name = arguments.positional[0].as_string();
    const FilterEntry* const filter = FindFilter(name);
    if (filter == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("filter ", Quoted(name), " is not supported"));
    // Filters nest no deeper than this one: map(map) would go through the elements of elements, without end for texts.
    if (filter->apply == &Map) return absl::InvalidArgumentError("map of map is not supported");
    const Arguments rest = Rest(arguments, 1);
    for (const Value& element : elements->items) {
      RATION_RETURN_IF_ERROR(budget.Steps(1));
      RATION_ASSIGN_OR_RETURN(Value item, filter->apply(element, rest, budget));
      items.push_back(std::move(item));
    }
  }
  return NewList(std::move(items), &budget, ListForm::kLazy);
}

// select, reject; with `by_attribute` selectattr, rejectattr.
template <bool wanted, bool by_attribute>
absl::StatusOr<Value> Select(const Value& value, const Arguments& arguments, RenderBudget& budget) {
  const size_t test_at = by_attribute ? 1 : 0;
  if (arguments.positional.size() < test_at) return absl::InvalidArgumentError("needs an attribute's name");
  const TestEntry* test = nullptr;
  Arguments rest;
  if (arguments.positional.size() > test_at) {
    const Value& name = arguments.positional[test_at];
    if (!name.is_string()) return absl::InvalidArgumentError("needs a test's name");
    test = FindTest(name.as_string());
    if (test == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("test ", Quoted(name.as_string()), " is not supported"));
    rest = Rest(arguments, test_at + 1);
  }
  RATION_ASSIGN_OR_RETURN(const ListPtr elements, Elements(value, budget));
  RATION_RETURN_IF_ERROR(budget.Fits(List::Cost(elements->items.size())));
  std::vector<Value> items;
  for (const Value& element : elements->items) {
    RATION_RETURN_IF_ERROR(budget.Steps(1));
    Value subject = element;
    if (by_attribute) {
      RATION_ASSIGN_OR_RETURN(subject, ByPath(element, arguments.positional[0], budget));
    }
    bool passes = subject.truth();
    if (test != nullptr) {
      RATION_ASSIGN_OR_RETURN(passes, test->apply(subject, rest, budget));
    }
    if (passes == wanted) items.push_back(element);
  }
  return NewList(std::move(items), &budget, ListForm::kLazy);
}

constexpr FilterEntry kFilters[] = {
    {"count", &Count},
    {"dictsort", &DictSort},
    {"first", &End<false>},
    {"items", &Items},
    {"join", &Join},
    {"last", &End<true>},
    {"length", &Count},
    {"list", &ToList},
    {"map", &Map},
    {"max", &Extreme<true>},
    {"min", &Extreme<false>},
    {"reject", &Select<false, false>},
    {"rejectattr", &Select<false, true>},
    {"reverse", &Reverse},
    {"select", &Select<true, false>},
    {"selectattr", &Select<true, true>},
    {"sort", &Sort},
    {"sum", &Sum},
    {"unique", &Unique},
};

}  // namespace

absl::Span<const FilterEntry> internal::SequenceFilters() { return kFilters; }

}  // namespace ration::jinja
