// Reads traces line by line; a line that is not understood ends the reading, since a trace with holes is another
// workload.
// Layer: client/bench.
#include "client/bench/trace_file.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "client/bench/input_file.h"

namespace ration {
namespace {

constexpr absl::string_view kCsvHeader = "TIMESTAMP,ContextTokens,GeneratedTokens";
constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr int64_t kMaxTokens = int64_t{1} << 40;  // keeps products with a length scale within 64 bits
constexpr double kMaxMilliseconds = 1e15;

// For messages: the beginning of what was found, without control characters.
std::string Quote(absl::string_view text) {
  const bool longer = text.size() > 60;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, 60)), longer ? "..." : "", "\"");
}

absl::StatusOr<int64_t> ParseTokens(absl::string_view text, absl::string_view field) {
  int64_t tokens = 0;
  if (!absl::SimpleAtoi(text, &tokens) || tokens < 0 || tokens > kMaxTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(field, " must be a whole number in [0, ", kMaxTokens, "], not ", Quote(text)));
  }
  return tokens;
}

// `entry.seconds` is since the Unix epoch.
absl::StatusOr<TraceEntry> ParseCsvLine(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ',');
  if (fields.size() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("3 fields expected (", kCsvHeader, "), ", fields.size(), " found in ", Quote(line)));
  }
  absl::Time time;
  std::string error;
  if (!absl::ParseTime("%Y-%m-%d %H:%M:%E*S", fields[0], &time, &error) || time == absl::InfiniteFuture() ||
      time == absl::InfinitePast()) {
    return absl::InvalidArgumentError(
        absl::StrCat("TIMESTAMP must be a time such as 2023-11-16 18:15:46.6805900, not ", Quote(fields[0])));
  }
  absl::StatusOr<int64_t> prompt = ParseTokens(fields[1], "ContextTokens");
  if (!prompt.ok()) return prompt.status();
  absl::StatusOr<int64_t> output = ParseTokens(fields[2], "GeneratedTokens");
  if (!output.ok()) return output.status();
  return TraceEntry{absl::ToDoubleSeconds(time - absl::UnixEpoch()), *prompt, *output};
}

absl::StatusOr<int64_t> JsonTokens(const nlohmann::json& object, const char* field) {
  const auto found = object.find(field);
  if (found == object.end()) return absl::InvalidArgumentError(absl::StrCat("no field \"", field, "\""));
  if (!found->is_number_integer()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", field, "\" must be a whole number, not ",
                     Quote(found->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace))));
  }
  // Through text, because an unsigned number above 2^63 would be read as a negative one.
  return ParseTokens(found->dump(), absl::StrCat("\"", field, "\""));
}

absl::StatusOr<TraceEntry> ParseJsonLine(absl::string_view line) {
  const nlohmann::json object = nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError(absl::StrCat("not a JSON object: ", Quote(line)));
  const auto timestamp = object.find("timestamp");
  if (timestamp == object.end()) return absl::InvalidArgumentError("no field \"timestamp\"");
  const double milliseconds = timestamp->is_number() ? timestamp->get<double>() : -1;
  if (!(milliseconds >= 0 && milliseconds <= kMaxMilliseconds)) {
    return absl::InvalidArgumentError("\"timestamp\" must be a number of milliseconds in [0, 1e15]");
  }
  absl::StatusOr<int64_t> prompt = JsonTokens(object, "input_length");
  if (!prompt.ok()) return prompt.status();
  absl::StatusOr<int64_t> output = JsonTokens(object, "output_length");
  if (!output.ok()) return output.status();
  return TraceEntry{milliseconds / 1000, *prompt, *output};
}

}  // namespace

absl::StatusOr<std::vector<TraceEntry>> ParseTrace(absl::string_view content, absl::string_view name) {
  std::vector<TraceEntry> entries;
  absl::ConsumePrefix(&content, "\xEF\xBB\xBF");  // a byte order mark
  const bool json = absl::StartsWith(absl::StripLeadingAsciiWhitespace(content), "{");
  int64_t number = 0;
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (number == 1 && !json) {
      if (line != kCsvHeader) {
        return absl::InvalidArgumentError(absl::StrCat(name, ":1: not a trace: expected the header \"", kCsvHeader,
                                                       "\" or a JSON object, found ", Quote(line)));
      }
      continue;
    }
    if (line.empty()) continue;
    absl::StatusOr<TraceEntry> entry = json ? ParseJsonLine(line) : ParseCsvLine(line);
    if (!entry.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ":", number, ": ", entry.status().message()));
    }
    entries.push_back(*entry);
  }
  if (entries.empty()) return absl::InvalidArgumentError(absl::StrCat(name, ": no requests in this trace"));
  std::stable_sort(entries.begin(), entries.end(),
                   [](const TraceEntry& a, const TraceEntry& b) { return a.seconds < b.seconds; });
  const double first_seconds = entries.front().seconds;
  for (TraceEntry& entry : entries) entry.seconds -= first_seconds;
  return entries;
}

absl::StatusOr<std::vector<TraceEntry>> ReadTrace(const std::string& path) {
  absl::StatusOr<std::string> content = ReadInputFile(path, kMaxFileBytes);
  if (!content.ok()) return content.status();
  return ParseTrace(*content, path);
}

}  // namespace ration
