// The names of one part of a template, and around it those of the parts it stands in.
// Layer: engine/chat/jinja. Thread-compatible.
#ifndef RATION_ENGINE_CHAT_JINJA_SCOPE_H_
#define RATION_ENGINE_CHAT_JINJA_SCOPE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

class Scope {
 public:
  // `parent` may be null and must outlive this.
  explicit Scope(const Scope* parent) : parent_(parent) {}
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // Nullptr if the name is in none. The value stays where it is until the next Set in its scope.
  const Value* Find(absl::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
      for (const auto& [known, value] : scope->values_) {
        if (known == name) return &value;
      }
    }
    return nullptr;
  }
  // In this scope.
  void Set(absl::string_view name, Value value) {
    for (auto& [known, old] : values_) {
      if (known == name) {
        old = std::move(value);
        return;
      }
    }
    values_.emplace_back(std::string(name), std::move(value));
  }

 private:
  const Scope* const parent_;
  std::vector<std::pair<std::string, Value>> values_;  // few: searching beats hashing
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_SCOPE_H_
