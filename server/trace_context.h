// W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/): reads the `traceparent` that a client or a proxy sends along, so
// that log lines can be found by the trace's id.
// Layer: server. Value type; stateless.
#ifndef RATION_SERVER_TRACE_CONTEXT_H_
#define RATION_SERVER_TRACE_CONTEXT_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace ration {

struct TraceContext {
  std::string trace_id;   // 32 lower-case hexadecimal digits, not all zero
  std::string parent_id;  // 16, likewise

  // nullopt if `text` is not valid, which the standard wants ignored: version 00 has exactly 55 characters, a later one at least those
  // and a dash behind them, ff is forbidden; hexadecimal digits are lower-case; neither id is all zero.
  static std::optional<TraceContext> Parse(absl::string_view text);
};

}  // namespace ration

#endif  // RATION_SERVER_TRACE_CONTEXT_H_
