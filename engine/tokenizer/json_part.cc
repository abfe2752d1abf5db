// See json_part.h.
#include "engine/tokenizer/json_part.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace ration {

std::string JsonPart::Message(absl::string_view what) const {
  return path_.empty() ? absl::StrCat(file_, ": ", what) : absl::StrCat(file_, ": ", path_, ": ", what);
}

absl::Status JsonPart::InvalidArgument(absl::string_view what) const {
  return absl::InvalidArgumentError(Message(what));
}

absl::Status JsonPart::Unimplemented(absl::string_view what) const { return absl::UnimplementedError(Message(what)); }

absl::StatusOr<JsonPart> JsonPart::Member(absl::string_view name) const {
  if (absl::Status status = ExpectObject(); !status.ok()) return status;
  const auto it = value_->find(std::string(name));
  if (it == value_->end()) return InvalidArgument(absl::StrCat("\"", name, "\" is missing"));
  return JsonPart(&*it, file_, path_.empty() ? std::string(name) : absl::StrCat(path_, ".", name));
}

std::optional<JsonPart> JsonPart::OptionalMember(absl::string_view name) const {
  if (!value_->is_object()) return std::nullopt;
  const auto it = value_->find(std::string(name));
  if (it == value_->end() || it->is_null()) return std::nullopt;
  return JsonPart(&*it, file_, path_.empty() ? std::string(name) : absl::StrCat(path_, ".", name));
}

JsonPart JsonPart::Element(size_t index) const {
  return JsonPart(&(*value_)[index], file_, absl::StrCat(path_, "[", index, "]"));
}

absl::Status JsonPart::ExpectObject() const {
  if (value_->is_object()) return absl::OkStatus();
  return InvalidArgument(absl::StrCat("must be an object, not ", value_->type_name()));
}

absl::Status JsonPart::ExpectArray(size_t max_size) const {
  if (!value_->is_array()) return InvalidArgument(absl::StrCat("must be an array, not ", value_->type_name()));
  if (value_->size() > max_size) {
    return InvalidArgument(absl::StrCat("has ", value_->size(), " elements; the limit is ", max_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> JsonPart::String() const {
  if (!value_->is_string()) return InvalidArgument(absl::StrCat("must be a string, not ", value_->type_name()));
  return value_->get_ref<const std::string&>();
}

absl::StatusOr<int64_t> JsonPart::Int(int64_t min, int64_t max) const {
  if (!value_->is_number_integer()) {
    return InvalidArgument(
        absl::StrCat("must be an integer, not ", value_->is_number() ? "fraction" : value_->type_name()));
  }
  const bool huge = value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t number = huge ? INT64_MAX : value_->get<int64_t>();
  if (huge || number < min || number > max) {
    const std::string shown = huge ? absl::StrCat(value_->get<uint64_t>()) : absl::StrCat(number);
    return InvalidArgument(absl::StrCat("must be in [", min, ", ", max, "], not ", shown));
  }
  return number;
}

absl::StatusOr<bool> JsonPart::BoolMember(absl::string_view name, bool default_value) const {
  const std::optional<JsonPart> member = OptionalMember(name);
  if (!member.has_value()) return default_value;
  if (!member->value_->is_boolean()) {
    return member->InvalidArgument(absl::StrCat("must be true or false, not ", member->value_->type_name()));
  }
  return member->value_->get<bool>();
}

}  // namespace ration
