#include "server/flag_parser.h"

#include <algorithm>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "engine/base/quote.h"

namespace ration {
namespace {

constexpr size_t kHelpColumns = 100;

absl::CommandLineFlag* FindFlag(absl::Span<const absl::string_view> names, absl::string_view name) {
  return std::find(names.begin(), names.end(), name) == names.end() ? nullptr : absl::FindCommandLineFlag(name);
}

absl::Status SetFlag(absl::CommandLineFlag* flag, absl::string_view value) {
  std::string error;
  if (flag->ParseFrom(value, &error)) return absl::OkStatus();
  const size_t line_end = error.find('\n');
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag->Name(), ": cannot read ", Quoted(value), ": ", error.substr(0, line_end)));
}

}  // namespace

absl::Status ParseFlags(absl::Span<const absl::string_view> names, absl::Span<const std::string> arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view argument = arguments[i];
    if (!absl::ConsumePrefix(&argument, "--") || argument.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("not a flag: ", Quoted(arguments[i])));
    }
    const size_t equals = argument.find('=');
    const absl::string_view name = argument.substr(0, equals);
    absl::CommandLineFlag* flag = FindFlag(names, name);
    absl::Status status;
    if (flag != nullptr && equals != absl::string_view::npos) {
      status = SetFlag(flag, argument.substr(equals + 1));
    } else if (flag != nullptr && flag->IsOfType<bool>()) {
      status = SetFlag(flag, "true");
    } else if (flag != nullptr) {
      if (i + 1 == arguments.size()) return absl::InvalidArgumentError(absl::StrCat("--", name, ": needs a value"));
      status = SetFlag(flag, arguments[++i]);
    } else {
      absl::string_view positive = argument;
      flag = absl::ConsumePrefix(&positive, "no") ? FindFlag(names, positive) : nullptr;
      if (flag == nullptr || !flag->IsOfType<bool>()) {
        return absl::InvalidArgumentError(absl::StrCat("unknown flag ", Quoted(absl::StrCat("--", name)), "; see --help"));
      }
      status = SetFlag(flag, "false");
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

std::string FlagsHelp(absl::Span<const absl::string_view> names) {
  std::string help;
  for (absl::string_view name : names) {
    const absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    if (flag == nullptr) continue;
    absl::StrAppend(&help, "  --", name);
    const std::string default_value = flag->DefaultValue();
    if (!default_value.empty()) absl::StrAppend(&help, " (default ", default_value, ")");
    help += "\n";
    std::string line = "     ";
    const std::string description = flag->Help();
    for (absl::string_view word : absl::StrSplit(description, ' ', absl::SkipEmpty())) {
      if (line.size() + 1 + word.size() > kHelpColumns) {
        absl::StrAppend(&help, line, "\n");
        line = "     ";
      }
      absl::StrAppend(&line, " ", word);
    }
    absl::StrAppend(&help, line, "\n");
  }
  return help;
}

}  // namespace ration
