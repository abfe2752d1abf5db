#include "server/last_resort.h"

#include <cstdlib>

#include <spdlog/spdlog.h>

#include "absl/time/clock.h"

namespace ration {

LastResort::LastResort(absl::Duration time) {
  timer_.At(absl::Now() + time, [time] {
    spdlog::error("the server has not come to its end in {} (does the engine hang?): ending at once", absl::FormatDuration(time));
    std::_Exit(kExitStatus);
  });
}

}  // namespace ration
