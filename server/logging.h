// The process's log on stderr: lines of text for people or JSON objects for machines, one an event, with typed fields beside the
// message. spdlog carries them; plain spdlog::info() and so on stay the way to log a sentence.
// Layer: server. ConfigureLogging once, at the start; LogEvent from any thread.
//
// Invariant: an event is one line whatever its text and fields contain: control characters are escaped, invalid UTF-8 is replaced.
#ifndef RATION_SERVER_LOGGING_H_
#define RATION_SERVER_LOGGING_H_

#include <cstddef>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>
#include <spdlog/common.h>
#include <spdlog/logger.h>

#include "absl/strings/string_view.h"

namespace ration {

enum class LogFormat { kText, kJson };

// Field names and values in the order they are shown; an object.
using LogFields = nlohmann::ordered_json;

// Makes spdlog's default logger write to `sink` (default: stderr, in colours where that is a terminal):
//   text  2026-01-31T12:00:00.000Z info message name=value name="a text"
//   json  {"time":"2026-01-31T12:00:00.000Z","level":"info","message":"message","name":1,...}
void ConfigureLogging(LogFormat format, spdlog::level::level_enum level, spdlog::sink_ptr sink = nullptr);

// A logger to the same place whose callers never wait: lines go through a bounded queue and a thread, both its own, and when the queue is
// full (who reads stderr is too slow) the oldest are dropped. For lines whose number clients decide, or that the engine's thread writes.
// Its end writes what the queue holds. ConfigureLogging comes first.
std::shared_ptr<spdlog::logger> NewQueuedLogger(const std::string& name);

void LogEvent(spdlog::logger& logger, spdlog::level::level_enum level, absl::string_view message, const LogFields& fields);

// The first `max_bytes` of a text, in whole characters, and "..." if there is more.
std::string Beginning(absl::string_view text, size_t max_bytes);

}  // namespace ration

#endif  // RATION_SERVER_LOGGING_H_
