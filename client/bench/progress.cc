// Layer: client/bench.
#include "client/bench/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace ration {
namespace {

constexpr double kLineIntervalSeconds = 5;  // where lines stay, as in a log

}  // namespace

ProgressPrinter::ProgressPrinter(const Console& console, std::optional<int64_t> requests)
    : console_(console), requests_(requests), next_seconds_(console.err_is_terminal ? 0 : kLineIntervalSeconds) {}

void ProgressPrinter::Show(const LoadProgress& progress) {
  if (progress.seconds < next_seconds_) return;
  if (progress.seconds - last_seconds_ >= 1) {
    tokens_per_second_ = static_cast<double>(progress.tokens - last_tokens_) / (progress.seconds - last_seconds_);
    last_seconds_ = progress.seconds;
    last_tokens_ = progress.tokens;
  }
  if (console_.err_is_terminal) {
    // Cut off at the edge: a line that wraps could not be rewritten.
    const std::string line = Line(progress).substr(0, static_cast<size_t>(std::max(console_.columns - 1, 1)));
    *console_.err << "\r\x1b[K" << line << std::flush;
    shown_ = true;
  } else {
    *console_.err << Line(progress) << "\n" << std::flush;
    next_seconds_ = progress.seconds + kLineIntervalSeconds;
  }
}

void ProgressPrinter::End() {
  if (shown_) *console_.err << "\r\x1b[K" << std::flush;
  shown_ = false;
}

std::string ProgressPrinter::Line(const LoadProgress& progress) const {
  return absl::StrFormat("%6.1f s  sent %d%s  in flight %d  completed %d  not %d  %s tokens/s", progress.seconds,
                         progress.sent, requests_.has_value() ? absl::StrCat("/", *requests_) : "", progress.in_flight,
                         progress.completed, progress.not_completed, HumanNumber(tokens_per_second_));
}

}  // namespace ration
