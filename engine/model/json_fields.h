// Reads the members of one JSON object of a configuration file, each with its type and limits checked. Messages name
// the file, the path to the key, the rule and the value: `config.json: hidden_size: must be between 1 and 1048576, not
// -3`. Layer: engine/model. Views the object, which must outlive it; thread-safe.
#ifndef RATION_ENGINE_MODEL_JSON_FIELDS_H_
#define RATION_ENGINE_MODEL_JSON_FIELDS_H_

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace ration {

// `value` as JSON text in ASCII, cut to 60 characters.
std::string ShownJson(const nlohmann::json& value);

// A null member counts as absent, as in Hugging Face's files. Limits are inclusive.
class JsonFields {
 public:
  // where: what messages start with, e.g. "config.json: " or "config.json: mixsga.". REQUIRES: object.is_object().
  JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  // nullptr if absent or null.
  const nlohmann::json* Find(const char* key) const;

  // InvalidArgument if the key is absent.
  absl::StatusOr<int64_t> Int(const char* key, int64_t low, int64_t high) const;
  absl::StatusOr<double> Double(const char* key, double low, double high) const;

  // `otherwise`, unchecked, if the key is absent.
  absl::StatusOr<int64_t> IntOr(const char* key, int64_t otherwise, int64_t low, int64_t high) const;
  absl::StatusOr<double> DoubleOr(const char* key, double otherwise, double low, double high) const;
  // `otherwise` if the key is absent, `if_null` if it is null; both unchecked.
  absl::StatusOr<double> NumberOr(const char* key, double otherwise, double if_null, double low, double high) const;
  absl::StatusOr<bool> BoolOr(const char* key, bool otherwise) const;
  absl::StatusOr<std::string> StringOr(const char* key, absl::string_view otherwise) const;

  // `value` as an integer, for elements of a list under `key`.
  absl::StatusOr<int64_t> ToInt(const char* key, const nlohmann::json& value, int64_t low, int64_t high) const;

  // For objects of our own format: a misspelt key must not pass unseen.
  absl::Status OnlyKeys(std::initializer_list<absl::string_view> known) const;

  template <typename... Parts>
  absl::Status Error(const char* key, const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, key, ": ", parts...));
  }
  // Unimplemented: "<key>: "<value>" is not supported (<supported>)".
  absl::Status Unsupported(const char* key, absl::string_view value, absl::string_view supported) const;

  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& object_;
  const std::string where_;
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_JSON_FIELDS_H_
