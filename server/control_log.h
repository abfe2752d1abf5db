// The audit trail: one log line for each control call that changes something, or would have: who, what was asked for, what came of it.
// Never a token.
// Layer: server. Thread-safe; callers never wait for the log.
#ifndef RATION_SERVER_CONTROL_LOG_H_
#define RATION_SERVER_CONTROL_LOG_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <spdlog/logger.h>

#include "absl/status/status.h"

namespace ration {

struct ControlSummary {
  const char* method = "";  // "SetRatio", ...
  std::string tenant;       // whose token it was; empty: none, or nobody's
  std::string peer;         // as gRPC writes it
  std::string asked;        // the request in protobuf's text format; empty: it was not read
  absl::Status status;      // what came of it, whether or not the client waited for that
  std::optional<int64_t> epoch;  // of the change
};

class ControlLog {
 public:
  // `operators` gets the lines of callers who may control, `others` those of callers who may not, so that no number of them can push out
  // the former. nullptr: nobody gets them.
  ControlLog(std::shared_ptr<spdlog::logger> operators, std::shared_ptr<spdlog::logger> others)
      : operators_(std::move(operators)), others_(std::move(others)) {}

  // Writes the line: at level info if the change was made, at warning if it was refused.
  void Write(const ControlSummary& summary) const;

 private:
  const std::shared_ptr<spdlog::logger> operators_, others_;
};

}  // namespace ration

#endif  // RATION_SERVER_CONTROL_LOG_H_
