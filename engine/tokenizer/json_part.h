// A value inside a JSON file together with its path, so that every complaint names the part: "model.merges[17]".
// Layer: engine/tokenizer. Views the document; thread-compatible.
#ifndef RATION_ENGINE_TOKENIZER_JSON_PART_H_
#define RATION_ENGINE_TOKENIZER_JSON_PART_H_

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ration {

class JsonPart {
 public:
  // `value` must outlive the part. `file` begins every message.
  JsonPart(const nlohmann::json* value, std::string file) : value_(value), file_(std::move(file)) {}

  absl::Status InvalidArgument(absl::string_view what) const;
  absl::Status Unimplemented(absl::string_view what) const;

  const nlohmann::json& value() const { return *value_; }

  // The member of an object; InvalidArgument if this is no object or lacks it.
  absl::StatusOr<JsonPart> Member(absl::string_view name) const;
  // The same, nullopt if it is missing or null, or if this is no object.
  std::optional<JsonPart> OptionalMember(absl::string_view name) const;
  // Element `index` of an array. REQUIRES: it exists.
  JsonPart Element(size_t index) const;

  absl::Status ExpectObject() const;
  absl::Status ExpectArray(size_t max_size) const;
  absl::StatusOr<std::string> String() const;
  absl::StatusOr<int64_t> Int(int64_t min, int64_t max) const;
  // A member that may be missing or null.
  absl::StatusOr<bool> BoolMember(absl::string_view name, bool default_value) const;

 private:
  JsonPart(const nlohmann::json* value, std::string file, std::string path)
      : value_(value), file_(std::move(file)), path_(std::move(path)) {}
  std::string Message(absl::string_view what) const;

  const nlohmann::json* value_;
  std::string file_;
  std::string path_;  // empty at the root
};

}  // namespace ration

#endif  // RATION_ENGINE_TOKENIZER_JSON_PART_H_
