// What the process logs while this lives, at every level, as text.
// Thread-safe but for its life: one test's thread makes and destroys it, while nothing logs.
#ifndef RATION_TESTS_TESTING_CAPTURED_LOG_H_
#define RATION_TESTS_TESTING_CAPTURED_LOG_H_

#include <memory>
#include <sstream>
#include <string>

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "engine/base/mutex.h"

namespace ration {

class CapturedLog {
 public:
  CapturedLog() : sink_(std::make_shared<Sink>()), before_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>("captured", sink_);
    logger->set_level(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::string text() const {
    MutexLock lock(&sink_->text_mutex);
    return sink_->text;
  }
  // Waits until a line with `part` has been logged.
  void WaitFor(const std::string& part) const {
    while (!absl::StrContains(text(), part)) absl::SleepFor(absl::Milliseconds(1));
  }

 private:
  class Sink final : public spdlog::sinks::base_sink<std::mutex> {
   public:
    mutable Mutex text_mutex;
    std::string text;

   private:
    void sink_it_(const spdlog::details::log_msg& message) override {
      spdlog::memory_buf_t line;
      formatter_->format(message, line);
      MutexLock lock(&text_mutex);
      text.append(line.data(), line.size());
    }
    void flush_() override {}
  };

  const std::shared_ptr<Sink> sink_;
  const std::shared_ptr<spdlog::logger> before_;
};

}  // namespace ration

#endif  // RATION_TESTS_TESTING_CAPTURED_LOG_H_
