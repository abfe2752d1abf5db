#include "engine/base/strict_json.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"

namespace ration {
namespace {

using Json = nlohmann::json;

// Builds the document from the parser's events; a false return stops the parser.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return Put(Json()) != nullptr; }
  bool boolean(bool value) override { return Put(Json(value)) != nullptr; }
  bool number_integer(int64_t value) override { return Put(Json(value)) != nullptr; }
  bool number_unsigned(uint64_t value) override { return Put(Json(value)) != nullptr; }
  bool number_float(double value, const std::string&) override { return Put(Json(value)) != nullptr; }
  bool string(std::string& value) override { return Put(Json(std::move(value))) != nullptr; }
  bool binary(Json::binary_t&) override { return false; }  // JSON text has none
  bool start_object(size_t) override { return Open(Json::object()); }
  bool start_array(size_t) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(std::string& name) override {
    const auto [entry, inserted] = stack_.back()->get_ref<Json::object_t&>().emplace(std::move(name), nullptr);
    if (!inserted) {
      error_ = absl::StrCat("key ", Quoted(entry->first), " occurs twice in one object");
      return false;
    }
    member_ = &entry->second;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    error_ = JsonErrorText(error.what());
    return false;
  }

  const std::string& error() const { return error_; }
  Json TakeRoot() { return std::move(root_); }

 private:
  // Only the innermost container grows, so the pointers to the outer ones stay valid.
  Json* Put(Json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (stack_.back()->is_array()) {
      stack_.back()->push_back(std::move(value));
      return &stack_.back()->back();
    }
    *member_ = std::move(value);
    return member_;
  }

  bool Open(Json container) {
    if (stack_.size() >= kMaxJsonDepth) {
      error_ = absl::StrCat("nested deeper than ", kMaxJsonDepth, " levels");
      return false;
    }
    stack_.push_back(Put(std::move(container)));
    return true;
  }

  bool Close() {
    stack_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> stack_;  // open containers, outermost first
  Json* member_ = nullptr;    // the value of the key read last
  std::string error_;
};

}  // namespace

std::string JsonErrorText(const char* what) {
  absl::string_view text(what);
  const size_t bracket = text.find("] ");  // "[json.exception.parse_error.101] "
  if (bracket != absl::string_view::npos) text.remove_prefix(bracket + 2);
  return absl::CHexEscape(text.substr(0, 300));  // it quotes the file, which need not be UTF-8
}

absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text, absl::string_view name) {
  // The library takes a NUL byte for the end of the text and ignores the rest.
  const size_t nul = text.find('\0');
  if (nul != absl::string_view::npos)
    return absl::InvalidArgumentError(absl::StrCat(name, ": not valid JSON: NUL at byte ", nul));
  Builder builder;
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &builder)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": not valid JSON: ", builder.error()));
  }
  return builder.TakeRoot();
}

}  // namespace ration
