// Values that live inside one rendering only: namespaces, the loop object, and what can be called.
// Layer: engine/chat/jinja. Thread-compatible. The evaluator clears namespaces and loops when it ends, so that no
// cycle of references through them survives a rendering.
#ifndef RATION_ENGINE_CHAT_JINJA_RUNTIME_OBJECTS_H_
#define RATION_ENGINE_CHAT_JINJA_RUNTIME_OBJECTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

struct Macro;  // ast.h

// namespace(...): the one value a template can change.
struct Namespace {
  Namespace(size_t count, RenderBudget* budget) : charge(budget, Dict::Cost(count)) {}
  absl::flat_hash_map<std::string, Value> attributes;
  const MemoryCharge charge;  // for as many attributes as it was made with
};

// `loop` in a for statement.
struct Loop {
  std::shared_ptr<const List> items;
  size_t index = 0;            // from 0
  std::vector<Value> changed;  // the arguments of the last loop.changed()
  bool changed_called = false;
};

// Functions that every template knows.
enum class Function { kRange, kNamespace, kDict, kRaiseException, kStrftimeNow };

struct Callable {
  enum class Kind { kFunction, kMethod, kMacro };
  Kind kind = Kind::kFunction;
  Function function = Function::kRange;  // kFunction
  Value receiver;                        // kMethod: a string, dict or loop object
  std::string name;                      // of the function, method or macro
  const Macro* macro = nullptr;          // kMacro
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_RUNTIME_OBJECTS_H_
