// A report as aligned tables for people.
// Layer: client/bench. Stateless; thread-safe.
#ifndef RATION_CLIENT_BENCH_REPORT_TEXT_H_
#define RATION_CLIENT_BENCH_REPORT_TEXT_H_

#include <string>

#include "client/bench/latency_report.h"

namespace ration {

// Several lines, the last one ended; safe to print at a terminal. `colored`: titles in bold.
std::string ReportText(const Report& report, bool colored);

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_REPORT_TEXT_H_
