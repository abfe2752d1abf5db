#include "server/flag_parser.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "proto/config.pb.h"

namespace ration {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kHelpColumns = 100;

absl::Status WrongType(const FieldDescriptor& field, absl::string_view type, absl::string_view value) {
  return absl::InvalidArgumentError(absl::StrCat("--", field.name(), ": must be ", type, ", not ", Quoted(value)));
}

absl::Status SetField(const FieldDescriptor& field, absl::string_view value, Message* message) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  if (field.is_repeated()) {
    reflection.ClearField(message, &field);
    if (value.empty()) return absl::OkStatus();
    for (absl::string_view part : absl::StrSplit(value, ',')) reflection.AddString(message, &field, std::string(part));
    return absl::OkStatus();
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      bool parsed = false;
      if (!absl::SimpleAtob(value, &parsed)) return WrongType(field, "true or false", value);
      reflection.SetBool(message, &field, parsed);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      int64_t parsed = 0;
      if (!absl::SimpleAtoi(value, &parsed)) return WrongType(field, "a whole number", value);
      reflection.SetInt64(message, &field, parsed);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double parsed = 0;
      if (!absl::SimpleAtod(value, &parsed)) return WrongType(field, "a number", value);
      reflection.SetDouble(message, &field, parsed);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING:
      reflection.SetString(message, &field, std::string(value));
      return absl::OkStatus();
    default:
      return absl::InternalError(absl::StrCat("--", field.name(), ": a flag cannot have this type"));
  }
}

void AppendWrapped(absl::string_view text, std::string* help) {
  std::string line = "     ";
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (line.size() + 1 + word.size() > kHelpColumns) {
      absl::StrAppend(help, line, "\n");
      line = "     ";
    }
    absl::StrAppend(&line, " ", word);
  }
  absl::StrAppend(help, line, "\n");
}

}  // namespace

absl::Status ParseFlags(absl::Span<const std::string> arguments, Message* message, std::set<std::string>* given) {
  const google::protobuf::Descriptor& fields = *message->GetDescriptor();
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view argument = arguments[i];
    if (!absl::ConsumePrefix(&argument, "--") || argument.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("not a flag: ", Quoted(arguments[i])));
    }
    const size_t equals = argument.find('=');
    const absl::string_view name = argument.substr(0, equals);
    const FieldDescriptor* field = fields.FindFieldByName(std::string(name));
    absl::string_view value = equals == absl::string_view::npos ? "true" : argument.substr(equals + 1);
    if (field == nullptr) {
      absl::string_view positive = argument;
      field = absl::ConsumePrefix(&positive, "no") ? fields.FindFieldByName(std::string(positive)) : nullptr;
      if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_BOOL) {
        return absl::InvalidArgumentError(absl::StrCat("unknown flag ", Quoted(absl::StrCat("--", name)), "; see --help"));
      }
      value = "false";
    } else if (equals == absl::string_view::npos && field->cpp_type() != FieldDescriptor::CPPTYPE_BOOL) {
      if (i + 1 == arguments.size()) return absl::InvalidArgumentError(absl::StrCat("--", name, ": needs a value"));
      value = arguments[++i];
    }
    RATION_RETURN_IF_ERROR(SetField(*field, value, message));
    given->insert(field->name());
  }
  return absl::OkStatus();
}

std::string DefaultText(const FieldDescriptor& field) {
  if (field.is_repeated()) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return field.default_value_bool() ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(field.default_value_int64());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(field.default_value_double());
    default:
      return field.default_value_string();
  }
}

std::string FlagsHelp(const google::protobuf::Descriptor& message) {
  std::string help;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.options().HasExtension(v1::section)) {
      absl::StrAppend(&help, i == 0 ? "" : "\n", field.options().GetExtension(v1::section), "\n");
    }
    absl::StrAppend(&help, "  --", field.name());
    if (const std::string text = DefaultText(field); !text.empty()) absl::StrAppend(&help, " (default ", text, ")");
    help += "\n";
    AppendWrapped(field.options().GetExtension(v1::help), &help);
  }
  return help;
}

}  // namespace ration
