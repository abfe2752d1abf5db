// A log sink that keeps its lines, written as JSON objects, so that a test can wait for one.
// Thread-safe.
#ifndef RATION_TESTS_INTEGRATION_KEPT_LINES_H_
#define RATION_TESTS_INTEGRATION_KEPT_LINES_H_

#include <cstdint>
#include <string>
#include <vector>

#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "server/logging.h"

namespace ration {

class KeptLines final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  // The line of this request, ten seconds at most; null if it does not come.
  LogFields WaitForRequest(const std::string& request_id) {
    std::vector<LogFields> lines = WaitFor("request_id", request_id, 1);
    return lines.empty() ? LogFields() : lines[0];
  }
  // Lines with this value, once there are `count`; fewer if they do not come within ten seconds.
  std::vector<LogFields> WaitFor(const std::string& field, const std::string& value, size_t count) {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    for (;;) {
      std::vector<LogFields> found;
      for (const LogFields& line : lines_) {
        if (line.value(field, "") == value) found.push_back(line);
      }
      const absl::Duration left = deadline - absl::Now();
      if (found.size() >= count || left <= absl::ZeroDuration()) return found;
      changed_.WaitWithTimeout(&mutex_, left);
    }
  }
  int64_t num_requests() {
    MutexLock lock(&mutex_);
    int64_t requests = 0;
    for (const LogFields& line : lines_) requests += line.value("message", "") == "request" ? 1 : 0;
    return requests;
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    MutexLock lock(&mutex_);
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    lines_.push_back(LogFields::parse(std::string(text.data(), text.size())));
    changed_.SignalAll();
  }
  void flush_() override {}

  Mutex mutex_;
  CondVar changed_;
  std::vector<LogFields> lines_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ration

#endif  // RATION_TESTS_INTEGRATION_KEPT_LINES_H_
