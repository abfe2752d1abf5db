// Shows how a run goes, on standard error: one line that is rewritten at a terminal, else a line every few seconds.
// Layer: client/bench. Thread-compatible.
#ifndef RATION_CLIENT_BENCH_PROGRESS_H_
#define RATION_CLIENT_BENCH_PROGRESS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "client/bench/load_runner.h"
#include "client/console.h"

namespace ration {

class ProgressPrinter {
 public:
  // `requests`: how many there will be, if known.
  ProgressPrinter(const Console& console, std::optional<int64_t> requests);

  void Show(const LoadProgress& progress);
  // Clears the line of a terminal, so that a report can follow.
  void End();

 private:
  std::string Line(const LoadProgress& progress) const;

  const Console console_;
  const std::optional<int64_t> requests_;
  double next_seconds_;
  double last_seconds_ = 0;
  int64_t last_tokens_ = 0;
  double tokens_per_second_ = 0;
  bool shown_ = false;
};

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_PROGRESS_H_
