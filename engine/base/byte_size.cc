#include "engine/base/byte_size.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ration {
namespace {

// The multiplier of a suffix, or 0 if it is none.
double SuffixFactor(absl::string_view suffix) {
  const std::string lower = absl::AsciiStrToLower(suffix);
  if (lower.empty() || lower == "b") return 1;
  const std::string units = "kmgt";
  const size_t unit = units.find(lower[0]);
  if (unit == std::string::npos) return 0;
  const double power = static_cast<double>(unit) + 1;
  const absl::string_view rest = absl::string_view(lower).substr(1);
  if (rest.empty() || rest == "ib") return std::pow(1024.0, power);
  if (rest == "b") return std::pow(1000.0, power);
  return 0;
}

}  // namespace

absl::StatusOr<int64_t> ParseByteSize(absl::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  size_t digits = 0;
  while (digits < trimmed.size() && (absl::ascii_isdigit(trimmed[digits]) || trimmed[digits] == '.')) ++digits;
  double number = 0;
  const double factor = SuffixFactor(absl::StripLeadingAsciiWhitespace(trimmed.substr(digits)));
  if (digits == 0 || !absl::SimpleAtod(trimmed.substr(0, digits), &number) || factor == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a size in bytes: \"", text, "\" (write a number and B, KiB, MiB, GiB or TiB, e.g. 256MiB)"));
  }
  const double bytes = number * factor;
  if (bytes > std::ldexp(1.0, 62)) {
    return absl::InvalidArgumentError(absl::StrCat("size too large: \"", text, "\" (limit 4 EiB)"));
  }
  return static_cast<int64_t>(std::llround(bytes));
}

std::string FormatByteSize(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  while (std::fabs(value) >= 1024 && unit < 6) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(bytes, " B");
  const int decimals = std::fabs(value) < 10 ? 2 : std::fabs(value) < 100 ? 1 : 0;
  return absl::StrFormat("%.*f %s", decimals, value, kUnits[unit]);
}

}  // namespace ration
