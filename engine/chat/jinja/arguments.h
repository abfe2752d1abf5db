// The arguments of a call, filter or test, and their matching to parameters as Python does it.
// Layer: engine/chat/jinja. Thread-compatible.
#ifndef RATION_ENGINE_CHAT_JINJA_ARGUMENTS_H_
#define RATION_ENGINE_CHAT_JINJA_ARGUMENTS_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/jinja/value.h"

namespace ration::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

// What was given for each parameter.
class BoundArguments {
 public:
  bool Has(size_t parameter) const { return values_[parameter] != nullptr; }
  // REQUIRES: Has(parameter).
  const Value& operator[](size_t parameter) const { return *values_[parameter]; }
  bool Truth(size_t parameter, bool absent) const { return Has(parameter) ? values_[parameter]->truth() : absent; }
  // InvalidArgument names the parameter if it is none of the kind. Absent and none count as `absent`.
  absl::StatusOr<int64_t> Integer(size_t parameter, int64_t absent) const;
  absl::StatusOr<std::string> String(size_t parameter, absl::string_view absent) const;

 private:
  friend absl::StatusOr<BoundArguments> Bind(const Arguments& arguments,
                                             std::initializer_list<absl::string_view> parameters, size_t required);
  std::vector<std::string> names_;
  std::vector<const Value*> values_;
};

// InvalidArgument if there are too many, an unknown or doubled name, or if one of the first `required` is missing.
// `arguments` must outlive the result.
absl::StatusOr<BoundArguments> Bind(const Arguments& arguments, std::initializer_list<absl::string_view> parameters,
                                    size_t required = 0);

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_ARGUMENTS_H_
