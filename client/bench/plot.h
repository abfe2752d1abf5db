// Draws a timeline with gnuplot: pressure, KV fraction and queue, one above the other over one time axis.
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_PLOT_H_
#define RATION_CLIENT_BENCH_PLOT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/bench/timeline.h"

namespace ration {

// InvalidArgument unless `path` ends with ".svg" or ".png".
absl::Status CheckPlotPath(absl::string_view path);

// Writes the picture to `path`. NotFound, with the package to install, if there is no gnuplot; FailedPrecondition if
// there are not enough samples to draw.
absl::Status DrawTimeline(absl::Span<const StateSample> samples, const std::string& path);

// The program that gnuplot is given, for a path as above. Fewer points are drawn than there are samples if these are
// many.
std::string TimelineScript(absl::Span<const StateSample> samples, absl::string_view path);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_PLOT_H_
