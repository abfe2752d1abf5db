#include "server/engine_watch.h"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

#include "absl/time/clock.h"

namespace ration {
namespace {

constexpr absl::Duration kCheckInterval = absl::Milliseconds(200);

}  // namespace

EngineWatch::EngineWatch(Options options) : options_(std::move(options)), created_(options_.clock->Now()) {}

EngineWatch::State EngineWatch::Look() const {
  const EngineRunner::Pulse pulse = options_.runner->pulse();
  State state;
  // Before its first step the engine has no time to tell.
  state.step_age = std::max(absl::ZeroDuration(), options_.clock->Now() - std::max(pulse.last_step, created_));
  state.stalled =
      options_.stall_timeout > absl::ZeroDuration() && pulse.has_work && state.step_age > options_.stall_timeout;
  return state;
}

void EngineWatch::Start(TimerThread* timer) {
  if (options_.stall_timeout <= absl::ZeroDuration()) return;
  timer_ = timer;
  timer_->At(absl::Now() + kCheckInterval, [this] { Check(); });
}

void EngineWatch::Check() {
  const State state = Look();
  if (state.stalled != stalled_) {
    stalled_ = state.stalled;
    if (stalled_) {
      spdlog::error("THE ENGINE HANGS: it has work and has taken no step for {}; no longer alive or ready",
                    absl::FormatDuration(absl::Trunc(state.step_age, absl::Milliseconds(100))));
    } else {
      spdlog::warn("the engine takes steps again; alive and ready as before");
    }
    options_.on_change(stalled_);
  }
  timer_->At(absl::Now() + kCheckInterval, [this] { Check(); });
}

}  // namespace ration
