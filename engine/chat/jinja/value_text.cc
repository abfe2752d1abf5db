#include "engine/chat/jinja/value_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status_macros.h"
#include "engine/chat/jinja/unicode_text.h"
#include "engine/tokenizer/utf8.h"

namespace ration::jinja {
namespace {

absl::Status TooLong(int64_t max_bytes) {
  return absl::InvalidArgumentError(absl::StrCat("a text would be longer than ", max_bytes, " bytes"));
}

absl::Status Bounded(const std::string& text, int64_t max_bytes) {
  return static_cast<int64_t>(text.size()) <= max_bytes ? absl::OkStatus() : TooLong(max_bytes);
}

// repr() of a string: single quotes unless only those occur in it.
void AppendQuoted(absl::string_view value, std::string& text) {
  const bool has_single = value.find('\'') != absl::string_view::npos;
  const char quote = has_single && value.find('"') == absl::string_view::npos ? '"' : '\'';
  text += quote;
  while (!value.empty()) {
    const size_t bytes = FirstCharacterBytes(value);
    const char32_t c = FirstCodePoint(value);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      absl::StrAppend(&text, "\\", value.substr(0, bytes));
    } else if (c == '\n') {
      text += "\\n";
    } else if (c == '\r') {
      text += "\\r";
    } else if (c == '\t') {
      text += "\\t";
    } else if (IsPrintable(c)) {
      absl::StrAppend(&text, value.substr(0, bytes));
    } else {
      const auto number = static_cast<uint32_t>(c);
      if (number <= 0xFF) {
        absl::StrAppendFormat(&text, "\\x%02x", number);
      } else if (number <= 0xFFFF) {
        absl::StrAppendFormat(&text, "\\u%04x", number);
      } else {
        absl::StrAppendFormat(&text, "\\U%08x", number);
      }
    }
    value.remove_prefix(bytes);
  }
  text += quote;
}

absl::Status AppendRepr(const Value& value, int64_t max_bytes, std::string& text) {
  RATION_RETURN_IF_ERROR(Bounded(text, max_bytes));
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      text += "Undefined";
      return absl::OkStatus();
    case Value::Kind::kString:
      AppendQuoted(value.as_string(), text);
      return Bounded(text, max_bytes);
    case Value::Kind::kList: {
      const List& list = *value.as_list();
      if (list.form == ListForm::kLazy) {
        return absl::InvalidArgumentError("a generator (of map, select, items, ...) has no text; use |list");
      }
      const bool tuple = list.form == ListForm::kTuple;
      text += tuple ? '(' : '[';
      bool first = true;
      for (const Value& item : list.items) {
        if (!std::exchange(first, false)) text += ", ";
        RATION_RETURN_IF_ERROR(AppendRepr(item, max_bytes, text));
      }
      if (tuple && list.items.size() == 1) text += ',';
      text += tuple ? ')' : ']';
      return absl::OkStatus();
    }
    case Value::Kind::kDict: {
      text += '{';
      bool first = true;
      for (const auto& [key, item] : value.as_dict()->entries()) {
        if (!std::exchange(first, false)) text += ", ";
        RATION_RETURN_IF_ERROR(AppendRepr(key, max_bytes, text));
        text += ": ";
        RATION_RETURN_IF_ERROR(AppendRepr(item, max_bytes, text));
      }
      text += '}';
      return absl::OkStatus();
    }
    default:
      return AppendText(value, max_bytes, text);
  }
}

void AppendJsonString(absl::string_view value, std::string& text) {
  text += '"';
  for (char c : value) {
    switch (c) {
      case '"':
        text += "\\\"";
        break;
      case '\\':
        text += "\\\\";
        break;
      case '\n':
        text += "\\n";
        break;
      case '\r':
        text += "\\r";
        break;
      case '\t':
        text += "\\t";
        break;
      case '\b':
        text += "\\b";
        break;
      case '\f':
        text += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          absl::StrAppendFormat(&text, "\\u%04x", static_cast<unsigned char>(c));
        } else {
          text += c;
        }
    }
  }
  text += '"';
}

// The text of a scalar outside a string; nullopt if it is none.
std::optional<std::string> JsonScalar(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kNone:
      return "null";
    case Value::Kind::kBool:
      return value.as_bool() ? "true" : "false";
    case Value::Kind::kInt:
      return absl::StrCat(value.integer());
    case Value::Kind::kFloat:
      if (std::isnan(value.as_float())) return "NaN";
      if (std::isinf(value.as_float())) return value.as_float() > 0 ? "Infinity" : "-Infinity";
      return FloatText(value.as_float());
    default:
      return std::nullopt;
  }
}

class JsonWriter {
 public:
  JsonWriter(const JsonOptions& options, int64_t max_bytes, std::string& text)
      : options_(options), max_bytes_(max_bytes), text_(text) {}

  absl::Status Write(const Value& value, int level) {
    RATION_RETURN_IF_ERROR(Bounded(text_, max_bytes_));
    if (std::optional<std::string> scalar = JsonScalar(value)) {
      text_ += *scalar;
      return absl::OkStatus();
    }
    if (value.is_string()) {
      AppendJsonString(value.as_string(), text_);
      return Bounded(text_, max_bytes_);
    }
    if (value.is_dict()) return WriteDict(*value.as_dict(), level);
    if (value.is_list() && value.as_list()->form != ListForm::kLazy) return WriteList(*value.as_list(), level);
    if (value.is_undefined()) return absl::InvalidArgumentError(absl::StrCat("tojson: ", value.undefined_reason()));
    return absl::InvalidArgumentError(absl::StrCat("tojson: a ", value.type_name(), " cannot be written as JSON"));
  }

 private:
  absl::Status WriteList(const List& list, int level) {
    if (list.items.empty()) {
      text_ += "[]";
      return absl::OkStatus();
    }
    text_ += '[';
    bool first = true;
    for (const Value& item : list.items) {
      RATION_RETURN_IF_ERROR(Separate(std::exchange(first, false), level + 1));
      RATION_RETURN_IF_ERROR(Write(item, level + 1));
    }
    RATION_RETURN_IF_ERROR(NewLine(level));
    text_ += ']';
    return absl::OkStatus();
  }

  absl::Status WriteDict(const Dict& dict, int level) {
    if (dict.entries().empty()) {
      text_ += "{}";
      return absl::OkStatus();
    }
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (options_.sort_keys) {
      for (const Dict::Entry* entry : entries) {
        if (!entry->first.is_string())
          return absl::InvalidArgumentError("tojson: sort_keys needs keys that are strings");
      }
      std::stable_sort(entries.begin(), entries.end(), [](const Dict::Entry* a, const Dict::Entry* b) {
        return a->first.as_string() < b->first.as_string();
      });
    }
    text_ += '{';
    bool first = true;
    for (const Dict::Entry* entry : entries) {
      RATION_RETURN_IF_ERROR(Separate(std::exchange(first, false), level + 1));
      AppendJsonString(entry->first.is_string() ? entry->first.as_string() : JsonScalar(entry->first).value_or(""),
                       text_);
      text_ += options_.key_separator;
      RATION_RETURN_IF_ERROR(Write(entry->second, level + 1));
    }
    RATION_RETURN_IF_ERROR(NewLine(level));
    text_ += '}';
    return absl::OkStatus();
  }

  absl::Status Separate(bool first, int level) {
    if (!first) text_ += options_.item_separator;
    return NewLine(level);
  }

  absl::Status NewLine(int level) {
    if (!options_.indent.has_value()) return absl::OkStatus();
    const int64_t width = std::max<int64_t>(*options_.indent, 0);
    if (width > max_bytes_ / (level + 1)) return TooLong(max_bytes_);
    text_ += '\n';
    text_.append(static_cast<size_t>(width * level), ' ');
    return Bounded(text_, max_bytes_);
  }

  const JsonOptions& options_;
  const int64_t max_bytes_;
  std::string& text_;
};

}  // namespace

std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[32];
  const std::to_chars_result shortest =
      std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::scientific);
  const absl::string_view text(buffer, static_cast<size_t>(shortest.ptr - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  const char* const digits = text.data() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(digits, shortest.ptr, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  char fixed[64];
  const std::to_chars_result plain = std::to_chars(fixed, fixed + sizeof(fixed), number, std::chars_format::fixed);
  std::string result(fixed, static_cast<size_t>(plain.ptr - fixed));
  if (result.find('.') == std::string::npos) result += ".0";
  return result;
}

absl::Status AppendText(const Value& value, int64_t max_bytes, std::string& text) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return absl::OkStatus();
    case Value::Kind::kNone:
      text += "None";
      break;
    case Value::Kind::kBool:
      text += value.as_bool() ? "True" : "False";
      break;
    case Value::Kind::kInt:
      absl::StrAppend(&text, value.integer());
      break;
    case Value::Kind::kFloat:
      text += FloatText(value.as_float());
      break;
    case Value::Kind::kString:
      if (static_cast<int64_t>(text.size() + value.as_string().size()) > max_bytes) return TooLong(max_bytes);
      text += value.as_string();
      break;
    case Value::Kind::kList:
    case Value::Kind::kDict:
      RATION_RETURN_IF_ERROR(AppendRepr(value, max_bytes, text));
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("a ", value.type_name(), " has no text"));
  }
  return Bounded(text, max_bytes);
}

absl::StatusOr<std::string> ToText(const Value& value, RenderBudget& budget) {
  if (value.is_string()) {
    RATION_RETURN_IF_ERROR(budget.Fits(static_cast<int64_t>(value.as_string().size())));
    RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(value.as_string().size())));
    return value.as_string();
  }
  std::string text;
  RATION_RETURN_IF_ERROR(AppendText(value, budget.limits().memory_bytes - budget.memory_bytes(), text));
  RATION_RETURN_IF_ERROR(budget.Work(static_cast<int64_t>(text.size()) * 8));
  return text;
}

absl::Status AppendJson(const Value& value, const JsonOptions& options, int64_t max_bytes, std::string& text) {
  return JsonWriter(options, max_bytes, text).Write(value, 0);
}

}  // namespace ration::jinja
