#include "engine/weights/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/strict_json.h"

namespace ration {
namespace {

constexpr size_t kMaxDims = 8;

// A state machine over the JSON parser's events.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_float(double, const std::string& text) override {
    return Unexpected(absl::StrCat("the number ", text.substr(0, 40)));
  }
  bool binary(nlohmann::json::binary_t&) override { return Unexpected("binary data"); }
  bool number_integer(int64_t value) override {  // called for negative numbers only
    return Unexpected(absl::StrCat("the negative number ", value));
  }

  bool number_unsigned(uint64_t value) override {
    if (state_ == State::kShape) {
      if (entry_.shape.size() >= kMaxDims) return Fail(absl::StrCat("shape has more than ", kMaxDims, " dimensions"));
      entry_.shape.push_back(value);
      return true;
    }
    if (state_ == State::kOffsets) {
      if (entry_.offsets.size() >= 2) return Fail("data_offsets has more than 2 entries");
      entry_.offsets.push_back(value);
      return true;
    }
    return Unexpected(absl::StrCat("the number ", value));
  }

  bool string(std::string& value) override {
    if (state_ == State::kMetadata && !expecting_key_) {
      expecting_key_ = true;
      return true;
    }
    if (state_ != State::kTensor || field_ != Field::kDType)
      return Unexpected(absl::StrCat("the text ", Quoted(value)));
    entry_.dtype = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (state_ == State::kStart) {
      state_ = State::kTop;
    } else if (state_ == State::kTop && expecting_tensor_) {
      state_ = entry_.name == "__metadata__" ? State::kMetadata : State::kTensor;
      expecting_tensor_ = false;
      expecting_key_ = true;
      field_ = Field::kNone;
    } else {
      return Unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTop) {
      state_ = State::kEnd;
      return true;
    }
    if (state_ == State::kTensor) {
      if (!(seen_dtype_ && seen_shape_ && seen_offsets_)) {
        return Fail(absl::StrCat(!seen_dtype_ ? "dtype" : !seen_shape_ ? "shape" : "data_offsets", " is missing"));
      }
      if (entry_.offsets.size() != 2) return Fail("data_offsets must have 2 entries");
      entries_.push_back(std::move(entry_));
    }
    entry_ = SafetensorsEntry();
    metadata_keys_.clear();
    seen_dtype_ = seen_shape_ = seen_offsets_ = false;
    state_ = State::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (state_ != State::kTensor || (field_ != Field::kShape && field_ != Field::kOffsets))
      return Unexpected("an array");
    state_ = field_ == Field::kShape ? State::kShape : State::kOffsets;
    return true;
  }

  bool end_array() override {
    state_ = State::kTensor;
    field_ = Field::kNone;
    return true;
  }

  bool key(std::string& name) override {
    if (state_ == State::kTop) {
      if (!names_.insert(name).second) return Fail(absl::StrCat("tensor ", Quoted(name), " occurs twice"));
      entry_.name = std::move(name);
      expecting_tensor_ = true;
      return true;
    }
    if (state_ == State::kMetadata) {
      if (!metadata_keys_.insert(name).second) return Fail(absl::StrCat("key ", Quoted(name), " occurs twice"));
      expecting_key_ = false;
      return true;
    }
    bool* seen = nullptr;
    if (name == "dtype") {
      field_ = Field::kDType;
      seen = &seen_dtype_;
    } else if (name == "shape") {
      field_ = Field::kShape;
      seen = &seen_shape_;
    } else if (name == "data_offsets") {
      field_ = Field::kOffsets;
      seen = &seen_offsets_;
    } else {
      return Fail(absl::StrCat("unknown key ", Quoted(name)));
    }
    if (*seen) return Fail(absl::StrCat("key ", Quoted(name), " occurs twice"));
    *seen = true;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    error_ = absl::StrCat("the header is not valid JSON: ", JsonErrorText(error.what()));
    return false;
  }

  const std::string& error() const { return error_; }
  std::vector<SafetensorsEntry>& entries() { return entries_; }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };
  enum class Field { kNone, kDType, kShape, kOffsets };

  bool Fail(const std::string& what) {
    const bool in_entry = state_ != State::kStart && state_ != State::kTop;
    error_ = in_entry ? absl::StrCat("tensor ", Quoted(entry_.name), ": ", what) : what;
    return false;
  }

  bool Unexpected(const std::string& what) {
    switch (state_) {
      case State::kShape:
        return Fail(absl::StrCat("shape must hold non-negative integers, not ", what));
      case State::kOffsets:
        return Fail(absl::StrCat("data_offsets must hold non-negative integers, not ", what));
      case State::kMetadata:
        return Fail(absl::StrCat("must hold text, not ", what));
      case State::kTensor:
        return Fail(absl::StrCat(
            field_ == Field::kDType ? "dtype must be text, not " : "its fields must be arrays, not ", what));
      case State::kTop:
        return Fail(absl::StrCat("tensor ", Quoted(entry_.name), " must be an object, not ", what));
      case State::kStart:
      case State::kEnd:
        break;
    }
    return Fail(absl::StrCat("the header must be a JSON object, not ", what));
  }

  State state_ = State::kStart;
  Field field_ = Field::kNone;     // in kTensor: the field whose value comes next
  bool expecting_tensor_ = false;  // in kTop: a key was read, its object comes next
  bool expecting_key_ = true;      // in kMetadata
  bool seen_dtype_ = false, seen_shape_ = false, seen_offsets_ = false;
  SafetensorsEntry entry_;
  std::vector<SafetensorsEntry> entries_;
  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> metadata_keys_;
  std::string error_;
};

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(absl::string_view json) {
  if (json.empty() || json[0] != '{')
    return absl::InvalidArgumentError("the header must be a JSON object that starts with '{'");
  // The JSON library takes a NUL byte for the end of the text and ignores the rest.
  if (json.find('\0') != absl::string_view::npos) return absl::InvalidArgumentError("the header holds a NUL byte");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(json.data(), json.data() + json.size(), &reader))
    return absl::InvalidArgumentError(reader.error());
  return std::move(reader.entries());
}

}  // namespace ration
