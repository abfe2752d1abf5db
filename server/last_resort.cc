#include "server/last_resort.h"

#include <cstdlib>

#include <spdlog/spdlog.h>

#include "absl/time/clock.h"

namespace ration {
namespace {

constexpr absl::Duration kLogTime = absl::Seconds(1);

}  // namespace

LastResort::LastResort(absl::Duration time) {
  timer_.At(absl::Now() + time, [time] {
    spdlog::error("the server has not come to its end in {} (does the engine hang?): ending at once", absl::FormatDuration(time));
    std::_Exit(kExitStatus);
  });
  without_log_.At(absl::Now() + time + kLogTime, [] { std::_Exit(kExitStatus); });
}

}  // namespace ration
