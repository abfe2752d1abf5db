// One log line for each generating call when it has ended: who, which, how it ended, what it took. Never its prompt, its tokens or an
// error's text, which may quote them, unless the operator asked for prompts.
// Layer: server. Thread-safe; callers never wait for the log.
#ifndef RATION_SERVER_REQUEST_LOG_H_
#define RATION_SERVER_REQUEST_LOG_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <spdlog/logger.h>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/request.h"
#include "proto/generation.pb.h"

namespace ration {

enum class LoggedRequests { kAll, kErrors, kNone };

struct RequestLogOptions {
  LoggedRequests requests = LoggedRequests::kAll;
  bool prompts = false;  // also their beginning, and the errors' texts
};

// What is known of a call at its end.
struct RequestSummary {
  const char* method = "";  // "Generate" or "GenerateStream"
  std::string request_id;
  std::string tenant;    // empty: none
  std::string trace_id;  // empty: none
  std::string peer;      // as gRPC writes it
  std::string prompt;    // its beginning, if prompts are logged
  int64_t prompt_tokens = 0;          // 0: not known, the request was refused before
  std::optional<FinishInfo> finish;   // the engine's last word; absent: it never had the request
  absl::Status status;                // what the client was sent
  absl::Duration total_time;          // from the call's start
};

class RequestLog {
 public:
  // `logger` gets the lines; nullptr: nobody does.
  RequestLog(const RequestLogOptions& options, std::shared_ptr<spdlog::logger> logger)
      : options_(options), logger_(std::move(logger)) {}

  // The beginning of the request's text or messages, if prompts are logged; otherwise empty.
  std::string PromptToLog(const v1::GenerateRequest& request) const;
  // Writes the line, at level info; at level error if the server itself went wrong (INTERNAL, UNKNOWN, DATA_LOSS).
  void Write(const RequestSummary& summary) const;

 private:
  const RequestLogOptions options_;
  const std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace ration

#endif  // RATION_SERVER_REQUEST_LOG_H_
