#include "client/flag_set.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace ration {
namespace {

absl::Status NotA(absl::string_view kind, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("must be ", kind, ", not \"", text, "\""));
}

bool ParseNumber(absl::string_view text, float* value) { return absl::SimpleAtof(text, value); }
bool ParseNumber(absl::string_view text, double* value) { return absl::SimpleAtod(text, value); }
template <typename Integer>
bool ParseNumber(absl::string_view text, Integer* value) {
  return absl::SimpleAtoi(text, value);
}

// A setter for a number of type T.
template <typename T>
std::function<absl::Status(absl::string_view)> NumberSetter(std::optional<T>* value, absl::string_view kind) {
  return [value, kind](absl::string_view text) {
    T number{};
    if (!ParseNumber(text, &number)) return NotA(kind, text);
    *value = number;
    return absl::OkStatus();
  };
}

}  // namespace

void FlagSet::Section(std::string title) { section_ = std::move(title); }

void FlagSet::Declare(std::string name, std::string placeholder, std::string help,
                      std::function<absl::Status(absl::string_view)> set) {
  flags_.push_back({std::move(name), std::move(placeholder), std::move(help), std::move(set), section_});
}

void FlagSet::Add(std::string name, bool* value, std::string help) {
  Declare(std::move(name), "", std::move(help), [value](absl::string_view text) {
    *value = text == "true";
    return absl::OkStatus();
  });
}

void FlagSet::Add(std::string name, std::optional<bool>* value, std::string help) {
  Declare(std::move(name), "", std::move(help), [value](absl::string_view text) {
    *value = text == "true";
    return absl::OkStatus();
  });
}

void FlagSet::Add(std::string name, std::string placeholder, std::string* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), [value](absl::string_view text) {
    *value = std::string(text);
    return absl::OkStatus();
  });
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<std::string>* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), [value](absl::string_view text) {
    *value = std::string(text);
    return absl::OkStatus();
  });
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<float>* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), NumberSetter(value, "a number"));
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<double>* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), NumberSetter(value, "a number"));
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<int32_t>* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), NumberSetter(value, "a whole number"));
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<int64_t>* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), NumberSetter(value, "a whole number"));
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<uint64_t>* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), NumberSetter(value, "a whole number >= 0"));
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<absl::Duration>* value, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), [value](absl::string_view text) {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration)) return NotA("a time such as 500ms, 10s or 2m", text);
    *value = duration;
    return absl::OkStatus();
  });
}

void FlagSet::Add(std::string name, std::string placeholder, std::vector<std::string>* values, std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), [values](absl::string_view text) {
    values->emplace_back(text);
    return absl::OkStatus();
  });
}

void FlagSet::Add(std::string name, std::string placeholder, std::optional<std::vector<int32_t>>* values,
                  std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), [values](absl::string_view text) {
    const absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds(text);
    if (!ids.ok()) return ids.status();
    if (!values->has_value()) values->emplace();
    (*values)->insert((*values)->end(), ids->begin(), ids->end());
    return absl::OkStatus();
  });
}

void FlagSet::Add(std::string name, std::string placeholder, std::vector<std::pair<int32_t, float>>* values,
                  std::string help) {
  Declare(std::move(name), std::move(placeholder), std::move(help), [values](absl::string_view text) {
    for (absl::string_view part : absl::StrSplit(text, ',', absl::SkipWhitespace())) {
      const std::pair<absl::string_view, absl::string_view> pair = absl::StrSplit(part, absl::MaxSplits(':', 1));
      int32_t id = 0;
      float number = 0;
      if (!absl::SimpleAtoi(pair.first, &id) || !absl::SimpleAtof(pair.second, &number)) return NotA("ID:NUMBER", part);
      values->emplace_back(id, number);
    }
    return absl::OkStatus();
  });
}

const FlagSet::Flag* FlagSet::Find(absl::string_view name) const {
  const std::string canonical = absl::StrReplaceAll(name, {{"-", "_"}});
  for (const Flag& flag : flags_) {
    if (flag.name == canonical) return &flag;
  }
  return nullptr;
}

absl::StatusOr<std::vector<std::string>> FlagSet::Parse(absl::Span<const std::string> arguments) const {
  std::vector<std::string> rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view argument = arguments[i];
    if (argument == "--") {
      rest.insert(rest.end(), arguments.begin() + i + 1, arguments.end());
      break;
    }
    if (!absl::ConsumePrefix(&argument, "--")) {
      if (argument.size() > 1 && argument[0] == '-') {
        return absl::InvalidArgumentError(absl::StrCat("unknown flag ", argument, "; put -- before text that begins with -"));
      }
      rest.emplace_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const absl::string_view name = argument.substr(0, equals);
    const Flag* flag = Find(name);
    bool negated = false;
    if (flag == nullptr && absl::StartsWith(name, "no")) {
      flag = Find(absl::StripPrefix(absl::StripPrefix(name, "no"), "-"));
      negated = true;
    }
    if (flag == nullptr || (negated && !flag->placeholder.empty())) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag --", name));
    }
    absl::string_view value;
    if (flag->placeholder.empty()) {
      value = negated ? "false" : "true";
      if (equals != absl::string_view::npos) {
        const absl::string_view given = argument.substr(equals + 1);
        if (negated || (given != "true" && given != "false")) {
          return absl::InvalidArgumentError(absl::StrCat("--", name, ": takes no value; use --", flag->name, " or --no", flag->name));
        }
        value = given;
      }
    } else if (equals != absl::string_view::npos) {
      value = argument.substr(equals + 1);
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    } else {
      return absl::InvalidArgumentError(absl::StrCat("--", flag->name, ": needs a value, --", flag->name, "=", flag->placeholder));
    }
    if (absl::Status status = flag->set(value); !status.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--", flag->name, ": ", status.message()));
    }
  }
  return rest;
}

std::string FlagSet::Help(int columns) const {
  constexpr int kIndent = 2;
  constexpr int kTextColumn = 32;
  std::string help;
  const std::string* section = nullptr;
  for (const Flag& flag : flags_) {
    if (section == nullptr || *section != flag.section) {
      absl::StrAppend(&help, help.empty() ? "" : "\n", flag.section, flag.section.empty() ? "" : "\n");
      section = &flag.section;
    }
    std::string left(kIndent, ' ');
    absl::StrAppend(&left, "--", flag.name, flag.placeholder.empty() ? "" : "=", flag.placeholder);
    std::string text = WrapText(flag.help, std::max(columns, kTextColumn + 30), kTextColumn);
    if (static_cast<int>(left.size()) + 2 > kTextColumn) {
      absl::StrAppend(&help, left, "\n", text, "\n");
    } else {
      text.replace(0, left.size(), left);
      absl::StrAppend(&help, text, "\n");
    }
  }
  return help;
}

absl::StatusOr<std::vector<int32_t>> ParseTokenIds(absl::string_view text) {
  std::vector<int32_t> ids;
  for (absl::string_view part : absl::StrSplit(text, absl::ByAnyChar(", \t\r\n"), absl::SkipEmpty())) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(part, &id)) return NotA("token ids such as 1,403,407", part);
    ids.push_back(id);
  }
  return ids;
}

std::string WrapText(absl::string_view text, int columns, int indent) {
  std::string result;
  std::string line(indent, ' ');
  bool empty = true;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!empty && static_cast<int>(line.size() + 1 + word.size()) > columns) {
      absl::StrAppend(&result, line, "\n");
      line.assign(indent, ' ');
      empty = true;
    }
    absl::StrAppend(&line, empty ? "" : " ", word);
    empty = false;
  }
  return result + line;
}

}  // namespace ration
