#include "engine/chat/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/runtime_objects.h"

namespace ration::jinja {
namespace {

// Equal keys have equal texts, and others do not. Absent: not a possible key.
std::optional<std::string> KeyText(const Value& key) {
  switch (key.kind()) {
    case Value::Kind::kString:
      return absl::StrCat("s", key.as_string());
    case Value::Kind::kNone:
      return "n";
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return absl::StrCat("i", key.integer());
    case Value::Kind::kFloat: {
      const double number = key.as_float();
      if (number == std::floor(number) && std::fabs(number) < 9e15)
        return absl::StrCat("i", static_cast<int64_t>(number));
      std::string bits(sizeof(number), '\0');
      std::memcpy(bits.data(), &number, sizeof(number));
      return absl::StrCat("f", bits);
    }
    default:
      return std::nullopt;
  }
}

absl::Status TooDeep() {
  return absl::InvalidArgumentError(absl::StrCat("lists and dicts nest deeper than ", kMaxValueDepth, " levels"));
}

}  // namespace

Value Value::UndefinedBecause(std::string reason) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(reason))});
}

const std::string& Value::as_string() const { return std::get<std::shared_ptr<const Text>>(data_)->text; }

bool Value::truth() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return integer() != 0;
    case Kind::kFloat:
      return as_float() != 0;
    case Kind::kString:
      return !as_string().empty();
    case Kind::kList:
      return as_list()->form == ListForm::kLazy || !as_list()->items.empty();
    case Kind::kDict:
      return !as_dict()->entries().empty();
    case Kind::kNamespace:
    case Kind::kLoop:
    case Kind::kCallable:
      return true;
  }
  return false;
}

int Value::depth() const {
  switch (kind()) {
    case Kind::kList:
      return as_list()->depth;
    case Kind::kDict:
      return as_dict()->depth();
    case Kind::kLoop:
      return as_loop()->items->depth;
    case Kind::kCallable:
      return as_callable()->receiver.depth() + 1;
    default:  // namespaces are given back one by one (evaluator.h)
      return 0;
  }
}

absl::string_view Value::type_name() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "undefined";
    case Kind::kNone:
      return "none";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "string";
    case Kind::kList:
      return as_list()->form == ListForm::kList ? "list" : as_list()->form == ListForm::kTuple ? "tuple" : "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "namespace";
    case Kind::kLoop:
      return "loop object";
    case Kind::kCallable:
      return "function";
  }
  return "value";
}

const Value* Dict::Find(const Value& key) const {
  const std::optional<std::string> text = KeyText(key);
  if (!text.has_value()) return nullptr;
  const auto it = index_.find(*text);
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

const Value* Dict::Find(absl::string_view key) const {
  const auto it = index_.find(absl::StrCat("s", key));
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

absl::StatusOr<Value> NewString(std::string text, RenderBudget* budget) {
  if (budget != nullptr) {
    RATION_RETURN_IF_ERROR(budget->Fits(Text::Cost(text.size())));
    RATION_RETURN_IF_ERROR(budget->Work(static_cast<int64_t>(text.size())));
  }
  return Value(std::make_shared<const Text>(std::move(text), budget));
}

absl::StatusOr<Value> NewList(std::vector<Value> items, RenderBudget* budget, ListForm form) {
  if (budget != nullptr) {
    RATION_RETURN_IF_ERROR(budget->Fits(List::Cost(items.size())));
    RATION_RETURN_IF_ERROR(budget->Steps(1 + static_cast<int64_t>(items.size()) / 4));
  }
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  if (depth >= kMaxValueDepth) return TooDeep();
  return Value(std::make_shared<const List>(form, std::move(items), depth + 1, budget));
}

absl::StatusOr<Value> NewDict(std::vector<Dict::Entry> entries, RenderBudget* budget) {
  if (budget != nullptr) {
    RATION_RETURN_IF_ERROR(budget->Fits(Dict::Cost(entries.size())));
    RATION_RETURN_IF_ERROR(budget->Steps(1 + static_cast<int64_t>(entries.size())));
  }
  std::shared_ptr<Dict> dict(new Dict(budget, entries.size()));
  for (Dict::Entry& entry : entries) {
    std::optional<std::string> key = KeyText(entry.first);
    if (!key.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("a ", entry.first.type_name(), " cannot be a key of a dict"));
    }
    dict->depth_ = std::max(dict->depth_, entry.second.depth() + 1);
    const auto [it, inserted] = dict->index_.try_emplace(*std::move(key), dict->entries_.size());
    if (inserted) {
      dict->entries_.push_back(std::move(entry));
    } else {
      dict->entries_[it->second].second = std::move(entry.second);
    }
  }
  if (dict->depth_ > kMaxValueDepth) return TooDeep();
  return Value(std::shared_ptr<const Dict>(std::move(dict)));
}

absl::StatusOr<bool> Equal(const Value& a, const Value& b, RenderBudget& budget) {
  RATION_RETURN_IF_ERROR(budget.Steps(1));
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
    return a.number() == b.number();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return true;
    case Value::Kind::kString:
      if (a.as_string().size() == b.as_string().size()) {
        RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(a.as_string().size())));
      }
      return a.as_string() == b.as_string();
    case Value::Kind::kList: {
      const List& x = *a.as_list();
      const List& y = *b.as_list();
      if (&x == &y) return true;
      if (x.form != y.form || x.form == ListForm::kLazy || x.items.size() != y.items.size()) return false;
      for (size_t i = 0; i < x.items.size(); ++i) {
        RATION_ASSIGN_OR_RETURN(const bool equal, Equal(x.items[i], y.items[i], budget));
        if (!equal) return false;
      }
      return true;
    }
    case Value::Kind::kDict: {
      const Dict& x = *a.as_dict();
      const Dict& y = *b.as_dict();
      if (&x == &y) return true;
      if (x.entries().size() != y.entries().size()) return false;
      for (const auto& [key, value] : x.entries()) {
        const Value* other = y.Find(key);
        if (other == nullptr) return false;
        RATION_ASSIGN_OR_RETURN(const bool equal, Equal(value, *other, budget));
        if (!equal) return false;
      }
      return true;
    }
    case Value::Kind::kNamespace:
      return a.as_namespace() == b.as_namespace();
    case Value::Kind::kLoop:
      return a.as_loop() == b.as_loop();
    case Value::Kind::kCallable:
      return a.as_callable() == b.as_callable();
    default:
      return false;
  }
}

}  // namespace ration::jinja
