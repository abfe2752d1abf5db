#include "engine/model/json_fields.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "engine/base/quote.h"

namespace ration {

using Json = nlohmann::json;

std::string ShownJson(const Json& value) {
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  return text.size() <= 60 ? text : absl::StrCat(text.substr(0, 57), "...");
}

const Json* JsonFields::Find(const char* key) const {
  const auto it = object_.find(key);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<int64_t> JsonFields::Int(const char* key, int64_t low, int64_t high) const {
  const Json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  return ToInt(key, *value, low, high);
}

absl::StatusOr<int64_t> JsonFields::IntOr(const char* key, int64_t otherwise, int64_t low, int64_t high) const {
  const Json* value = Find(key);
  return value == nullptr ? otherwise : ToInt(key, *value, low, high);
}

absl::StatusOr<int64_t> JsonFields::ToInt(const char* key, const Json& value, int64_t low, int64_t high) const {
  const bool is_integer = value.is_number_integer();
  const bool fits = is_integer && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX);
  const int64_t number = fits ? value.get<int64_t>() : 0;
  if (fits && number >= low && number <= high) return number;
  return Error(key, "must be ", is_integer ? "" : "an integer ", "between ", low, " and ", high, ", not ",
               ShownJson(value));
}

absl::StatusOr<double> JsonFields::Double(const char* key, double low, double high) const {
  const Json* value = Find(key);
  if (value == nullptr) return Error(key, "is missing");
  if (value->is_number()) {
    const double number = value->get<double>();
    if (number >= low && number <= high) return number;
  }
  return Error(key, "must be ", value->is_number() ? "" : "a number ", "between ", low, " and ", high, ", not ",
               ShownJson(*value));
}

absl::StatusOr<double> JsonFields::DoubleOr(const char* key, double otherwise, double low, double high) const {
  if (Find(key) == nullptr) return otherwise;
  return Double(key, low, high);
}

absl::StatusOr<double> JsonFields::NumberOr(const char* key, double otherwise, double if_null, double low,
                                            double high) const {
  return DoubleOr(key, object_.contains(key) ? if_null : otherwise, low, high);
}

absl::StatusOr<bool> JsonFields::BoolOr(const char* key, bool otherwise) const {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) return Error(key, "must be true or false, not ", ShownJson(*value));
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::StringOr(const char* key, absl::string_view otherwise) const {
  const Json* value = Find(key);
  if (value == nullptr) return std::string(otherwise);
  if (!value->is_string()) return Error(key, "must be text, not ", ShownJson(*value));
  return value->get<std::string>();
}

absl::Status JsonFields::OnlyKeys(std::initializer_list<absl::string_view> known) const {
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(where_, Quoted(key), ": is not a known key (", absl::StrJoin(known, ", "), " are)"));
  }
  return absl::OkStatus();
}

absl::Status JsonFields::Unsupported(const char* key, absl::string_view value, absl::string_view supported) const {
  return absl::UnimplementedError(
      absl::StrCat(where_, key, ": ", Quoted(value), " is not supported (", supported, ")"));
}

}  // namespace ration
