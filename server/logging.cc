#include "server/logging.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include <spdlog/async.h>
#include <spdlog/formatter.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace ration {
namespace {

// Lines that wait for the queue's thread at most: seconds of a busy server's, about 2 MB.
constexpr size_t kQueuedLines = 4096;
// Marks a line whose payload is a JSON object already: compared by address, so that no message can claim to be one.
constexpr char kObjectMark[] = "fields";

std::atomic<LogFormat> log_format{LogFormat::kText};

std::string Dump(const LogFields& value, bool ascii) {
  return value.dump(-1, ' ', ascii, LogFields::error_handler_t::replace);
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& to) override {
    LogFields head;
    head["time"] = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(message.time), absl::UTCTimeZone());
    const spdlog::string_view_t level = spdlog::level::to_string_view(message.level);
    head["level"] = std::string(level.data(), level.size());
    const std::string payload(message.payload.data(), message.payload.size());
    std::string line;
    if (message.source.filename == kObjectMark) {
      line = Dump(head, /*ascii=*/false);
      line.back() = ',';
      line.append(payload, 1);
    } else {
      head["message"] = payload;
      line = Dump(head, /*ascii=*/false);
    }
    line += '\n';
    to.append(line.data(), line.data() + line.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

// Words stay bare; everything else is quoted and escaped down to ASCII, so that nothing can move a terminal's cursor.
std::string TextValue(const LogFields& value) {
  if (!value.is_string()) return Dump(value, /*ascii=*/true);
  const auto& text = value.get_ref<const std::string&>();
  const bool word = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || (c != '\0' && absl::StrContains("-_.:/", absl::string_view(&c, 1)));
  });
  if (word) return text;
  std::string quoted = Dump(value, /*ascii=*/true);
  for (size_t at = 0; (at = quoted.find('\x7f', at)) != std::string::npos;) quoted.replace(at, 1, "\\u007f");
  return quoted;
}

struct QueuedLogger {
  std::shared_ptr<spdlog::async_logger> logger;
  std::shared_ptr<spdlog::details::thread_pool> queue;  // goes first: it joins its thread behind the last line
};

}  // namespace

void ConfigureLogging(LogFormat format, spdlog::level::level_enum level, spdlog::sink_ptr sink) {
  if (sink == nullptr) sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  log_format.store(format);
  auto logger = std::make_shared<spdlog::logger>("rationd", std::move(sink));
  if (format == LogFormat::kJson) {
    logger->set_formatter(std::make_unique<JsonFormatter>());
  } else {
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
  }
  logger->set_level(level);
  spdlog::set_default_logger(std::move(logger));
}

std::shared_ptr<spdlog::logger> NewQueuedLogger(const std::string& name) {
  const spdlog::logger& main = *spdlog::default_logger();
  auto queued = std::make_shared<QueuedLogger>();
  queued->queue = std::make_shared<spdlog::details::thread_pool>(kQueuedLines, 1);
  queued->logger = std::make_shared<spdlog::async_logger>(name, main.sinks().begin(), main.sinks().end(), queued->queue,
                                                          spdlog::async_overflow_policy::overrun_oldest);
  queued->logger->set_level(main.level());
  spdlog::logger* const logger = queued->logger.get();
  return std::shared_ptr<spdlog::logger>(std::move(queued), logger);
}

void LogEvent(spdlog::logger& logger, spdlog::level::level_enum level, absl::string_view message, const LogFields& fields) {
  if (!logger.should_log(level)) return;
  if (log_format.load() == LogFormat::kJson) {
    LogFields line;
    line["message"] = std::string(message);
    line.update(fields);
    logger.log(spdlog::source_loc{kObjectMark, 1, kObjectMark}, level, spdlog::string_view_t(Dump(line, /*ascii=*/false)));
    return;
  }
  std::string line(message);
  for (const auto& [name, value] : fields.items()) absl::StrAppend(&line, " ", name, "=", TextValue(value));
  logger.log(level, spdlog::string_view_t(line));
}

std::string Beginning(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return absl::StrCat(text.substr(0, end), "...");
}

}  // namespace ration
