#include "server/trace_context.h"

#include <algorithm>

namespace ration {
namespace {

// version "-" trace-id "-" parent-id "-" flags
constexpr size_t kTraceIdAt = 3, kTraceIdLength = 32;
constexpr size_t kParentIdAt = 36, kParentIdLength = 16;
constexpr size_t kFlagsAt = 53;
constexpr size_t kLength = 55;

bool IsLowerHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(absl::string_view text) { return text.find_first_not_of('0') == absl::string_view::npos; }

}  // namespace

std::optional<TraceContext> TraceContext::Parse(absl::string_view text) {
  if (text.size() < kLength || text[2] != '-' || text[kParentIdAt - 1] != '-' || text[kFlagsAt - 1] != '-') return std::nullopt;
  const absl::string_view version = text.substr(0, 2);
  const absl::string_view trace_id = text.substr(kTraceIdAt, kTraceIdLength);
  const absl::string_view parent_id = text.substr(kParentIdAt, kParentIdLength);
  if (!IsLowerHex(version) || version == "ff") return std::nullopt;
  if (text.size() > kLength && (version == "00" || text[kLength] != '-')) return std::nullopt;
  if (!IsLowerHex(trace_id) || IsZero(trace_id) || !IsLowerHex(parent_id) || IsZero(parent_id)) return std::nullopt;
  if (!IsLowerHex(text.substr(kFlagsAt, 2))) return std::nullopt;
  return TraceContext{std::string(trace_id), std::string(parent_id)};
}

}  // namespace ration
