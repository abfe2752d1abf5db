#include "server/config_source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>
#include <vector>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/base/status_macros.h"
#include "server/flag_parser.h"

namespace ration {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::TextFormat;

// Far above what every setting takes; a wrong file (a model, a log) is refused before it is read.
constexpr size_t kMaxFileBytes = 64 << 10;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const auto fails = [&path](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("--config: ", path, ": ", why));
  };
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fails(std::strerror(errno));
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return fails(errno != 0 ? std::strerror(errno) : "cannot be read");
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) return fails(absl::StrCat("more than ", kMaxFileBytes, " bytes, the limit"));
  return text;
}

std::string Place(absl::string_view path, int line, int column) { return absl::StrCat(path, ":", line + 1, ":", column + 1); }

// Keeps the first error: what follows is often its consequence.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(std::string path) : path_(std::move(path)) {}
  void AddError(int line, int column, const std::string& message) override {
    if (!message_.empty()) return;
    absl::string_view text = message;
    message_ = absl::StrCat(Place(path_, std::max(line, 0), std::max(column, 0)), ": ");
    if (absl::ConsumePrefix(&text, "Message type \"ration.v1.ServerConfig\" has no field named ")) {
      absl::ConsumeSuffix(&text, ".");
      absl::StrAppend(&message_, "no setting is named ", text, "; see --help");
    } else {
      absl::StrAppend(&message_, text);
    }
  }
  void AddWarning(int /*line*/, int /*column*/, const std::string& /*message*/) override {}
  const std::string& message() const { return message_; }

 private:
  const std::string path_;
  std::string message_;
};

}  // namespace

absl::StatusOr<ConfigSource> ConfigSource::Read(absl::Span<const std::string> arguments) {
  ConfigSource source;
  std::set<std::string> given;
  RATION_RETURN_IF_ERROR(ParseFlags(arguments, &source.config_, &given));
  if (!source.config_.config().empty()) RATION_RETURN_IF_ERROR(source.MergeFile(source.config_.config(), given));
  return source;
}

absl::Status ConfigSource::MergeFile(const std::string& path, const std::set<std::string>& given) {
  RATION_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  v1::ServerConfig file;
  FirstError error(path);
  TextFormat::ParseInfoTree locations;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.WriteLocationsTo(&locations);
  if (!parser.ParseFromString(text, &file)) {
    return absl::InvalidArgumentError(error.message().empty() ? absl::StrCat(path, ": cannot be read") : error.message());
  }
  const google::protobuf::Reflection& reflection = *file.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(file, &fields);
  for (const FieldDescriptor* field : fields) {
    const TextFormat::ParseLocation location = locations.GetLocation(field, field->is_repeated() ? 0 : -1);
    const std::string place = Place(path, location.line, location.column);
    if (field->options().GetExtension(v1::command_line_only)) {
      return absl::InvalidArgumentError(absl::StrCat(place, ": ", field->name(), ": belongs on the command line, not in a file"));
    }
    if (given.count(field->name()) > 0) {
      reflection.ClearField(&file, field);
    } else {
      places_[field->name()] = place;
    }
  }
  config_.MergeFrom(file);
  return absl::OkStatus();
}

absl::Status ConfigSource::Explain(const absl::Status& status) const {
  absl::string_view message = status.message();
  if (!absl::ConsumePrefix(&message, "--")) return status;
  const auto place = places_.find(std::string(message.substr(0, message.find(':'))));
  if (place == places_.end()) return status;
  return absl::Status(status.code(), absl::StrCat(place->second, ": ", message));
}

std::string ToConfigFile(const v1::ServerConfig& config) {
  v1::ServerConfig whole = config;
  const google::protobuf::Reflection& reflection = *whole.GetReflection();
  const google::protobuf::Descriptor& fields = *whole.GetDescriptor();
  for (int i = 0; i < fields.field_count(); ++i) {
    const FieldDescriptor* field = fields.field(i);
    if (field->options().GetExtension(v1::command_line_only)) {
      reflection.ClearField(&whole, field);
    } else if (field->is_repeated() || reflection.HasField(whole, field)) {
      continue;
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
      reflection.SetBool(&whole, field, field->default_value_bool());
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      reflection.SetInt64(&whole, field, field->default_value_int64());
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
      reflection.SetDouble(&whole, field, field->default_value_double());
    } else {
      reflection.SetString(&whole, field, field->default_value_string());
    }
  }
  std::string text;
  TextFormat::PrintToString(whole, &text);
  return text;
}

}  // namespace ration
