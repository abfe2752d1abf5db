#include "engine/chat/jinja/arguments.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"

namespace ration::jinja {

absl::StatusOr<int64_t> BoundArguments::Integer(size_t parameter, int64_t absent) const {
  if (!Has(parameter) || values_[parameter]->is_none()) return absent;
  if (values_[parameter]->is_integral()) return values_[parameter]->integer();
  return absl::InvalidArgumentError(
      absl::StrCat("argument \"", names_[parameter], "\" must be an int, not ", values_[parameter]->type_name()));
}

absl::StatusOr<std::string> BoundArguments::String(size_t parameter, absl::string_view absent) const {
  if (!Has(parameter) || values_[parameter]->is_none()) return std::string(absent);
  if (values_[parameter]->is_string()) return values_[parameter]->as_string();
  return absl::InvalidArgumentError(
      absl::StrCat("argument \"", names_[parameter], "\" must be a string, not ", values_[parameter]->type_name()));
}

absl::StatusOr<BoundArguments> Bind(const Arguments& arguments, std::initializer_list<absl::string_view> parameters,
                                    size_t required) {
  if (arguments.positional.size() > parameters.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("takes at most ", parameters.size(), " argument(s), not ", arguments.positional.size()));
  }
  BoundArguments bound;
  for (absl::string_view parameter : parameters) bound.names_.emplace_back(parameter);
  bound.values_.resize(parameters.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound.values_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keyword) {
    const auto found = std::find(bound.names_.begin(), bound.names_.end(), name);
    if (found == bound.names_.end())
      return absl::InvalidArgumentError(absl::StrCat("argument ", Quoted(name), " is not supported"));
    const Value*& place = bound.values_[static_cast<size_t>(found - bound.names_.begin())];
    if (place != nullptr) return absl::InvalidArgumentError(absl::StrCat("argument ", Quoted(name), " is given twice"));
    place = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (bound.values_[i] == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("argument \"", bound.names_[i], "\" is missing"));
  }
  return bound;
}

}  // namespace ration::jinja
