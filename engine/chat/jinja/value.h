// The values of a template: Python's as far as chat templates use them. Strings, lists and dicts cannot change once
// made, as in Jinja's immutable sandbox; only namespaces (and the loop object) do.
// Layer: engine/chat/jinja. A value without namespace, loop or callable may be shared by threads; others belong to
// one rendering.
//
// Invariants: (1) strings are valid UTF-8. (2) depth() is at most kMaxValueDepth + 1, so recursion over a value, its
// destructor's too, is bounded. (3) A dict's keys are none, bools, numbers and strings, no two of them equal.
#ifndef RATION_ENGINE_CHAT_JINJA_VALUE_H_
#define RATION_ENGINE_CHAT_JINJA_VALUE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/budget.h"

namespace ration::jinja {

inline constexpr int kMaxValueDepth = 64;

class Dict;
struct Callable;
struct List;
struct Loop;
struct Namespace;
struct Text;

// What comes of a name, key or attribute that is not there. Prints as nothing; most uses are errors, which say
// `reason`.
struct Undefined {
  std::shared_ptr<const std::string> reason;
};
struct None {};

class Value {
 public:
  enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kNamespace, kLoop, kCallable };

  Value() : data_(None{}) {}
  explicit Value(bool value) : data_(value) {}
  explicit Value(int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(std::shared_ptr<const Text> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const List> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const Dict> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<Loop> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const Callable> value) : data_(std::move(value)) {}
  static Value UndefinedBecause(std::string reason);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_undefined() const { return kind() == Kind::kUndefined; }
  bool is_none() const { return kind() == Kind::kNone; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_list() const { return kind() == Kind::kList; }
  bool is_dict() const { return kind() == Kind::kDict; }
  bool is_namespace_or_loop() const { return kind() == Kind::kNamespace || kind() == Kind::kLoop; }
  // Python counts bools among the integers.
  bool is_integral() const { return kind() == Kind::kBool || kind() == Kind::kInt; }
  bool is_number() const { return is_integral() || kind() == Kind::kFloat; }

  // REQUIRES: the kind.
  bool as_bool() const { return std::get<bool>(data_); }
  double as_float() const { return std::get<double>(data_); }
  const std::string& as_string() const;
  const std::shared_ptr<const List>& as_list() const { return std::get<std::shared_ptr<const List>>(data_); }
  const std::shared_ptr<const Dict>& as_dict() const { return std::get<std::shared_ptr<const Dict>>(data_); }
  const std::shared_ptr<Namespace>& as_namespace() const { return std::get<std::shared_ptr<Namespace>>(data_); }
  const std::shared_ptr<Loop>& as_loop() const { return std::get<std::shared_ptr<Loop>>(data_); }
  const std::shared_ptr<const Callable>& as_callable() const {
    return std::get<std::shared_ptr<const Callable>>(data_);
  }
  const std::string& undefined_reason() const { return *std::get<Undefined>(data_).reason; }
  // REQUIRES: is_integral(); is_number().
  int64_t integer() const { return kind() == Kind::kBool ? (as_bool() ? 1 : 0) : std::get<int64_t>(data_); }
  double number() const { return kind() == Kind::kFloat ? as_float() : static_cast<double>(integer()); }

  // Python's truth: empty, zero, none and undefined are false.
  bool truth() const;
  // How deep lists, dicts, and what holds them (methods, loops) nest: 0 for what is none of them.
  int depth() const;
  // For messages: "string", "dict", "none"...
  absl::string_view type_name() const;

 private:
  explicit Value(Undefined value) : data_(std::move(value)) {}
  // In the order of Kind.
  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>, std::shared_ptr<Loop>,
               std::shared_ptr<const Callable>>
      data_;
};

// Counted for each element of a list or dict beside the value itself: what methods and the reasons of undefined values
// take, which are not counted themselves.
inline constexpr size_t kElementBytes = 224;

struct Text {
  Text(std::string text_, RenderBudget* budget) : text(std::move(text_)), charge(budget, Cost(text.size())) {}
  static int64_t Cost(size_t bytes) { return static_cast<int64_t>(bytes) + 96; }
  const std::string text;
  const MemoryCharge charge;
};

// kLazy is what Python gives as a generator (select, map, ...): it has no length and no elements by number, and is
// always true.
enum class ListForm { kList, kTuple, kLazy };

struct List {
  List(ListForm form_, std::vector<Value> items_, int depth_, RenderBudget* budget)
      : form(form_), items(std::move(items_)), depth(depth_), charge(budget, Cost(items.size())) {}
  static int64_t Cost(size_t count) { return static_cast<int64_t>(count * (sizeof(Value) + kElementBytes)) + 96; }
  const ListForm form;
  const std::vector<Value> items;
  const int depth;
  const MemoryCharge charge;
};

// In order of insertion.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  static int64_t Cost(size_t count) { return static_cast<int64_t>(count * (sizeof(Entry) + kElementBytes)) + 160; }

  // Nullptr if there is none.
  const Value* Find(const Value& key) const;
  const Value* Find(absl::string_view key) const;
  const std::vector<Entry>& entries() const { return entries_; }
  int depth() const { return depth_; }

 private:
  friend absl::StatusOr<Value> NewDict(std::vector<Entry> entries, RenderBudget* budget);
  Dict(RenderBudget* budget, size_t count) : charge_(budget, Cost(count)) {}
  std::vector<Entry> entries_;
  absl::flat_hash_map<std::string, size_t> index_;  // KeyText -> position
  int depth_ = 1;
  const MemoryCharge charge_;
};

// With a budget, Fits has been asked for what the value takes. `budget` may be null and must outlive the value.
absl::StatusOr<Value> NewString(std::string text, RenderBudget* budget);
// InvalidArgument if it nests too deeply.
absl::StatusOr<Value> NewList(std::vector<Value> items, RenderBudget* budget, ListForm form = ListForm::kList);
// Of equal keys the last counts, in the place of the first. InvalidArgument for a key that is no string, number, bool
// or none.
absl::StatusOr<Value> NewDict(std::vector<Dict::Entry> entries, RenderBudget* budget);

// Python's ==. Takes a step an element compared.
absl::StatusOr<bool> Equal(const Value& a, const Value& b, RenderBudget& budget);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_VALUE_H_
