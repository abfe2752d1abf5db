// How much more the cache will have to hold at once: not every request reaches its end while all others are still there. All running
// requests grow by a token a step until they end and give everything back; the forecast is the peak of the sum.
// Layer: engine/budget. Pure; thread-safe.
#ifndef RATION_ENGINE_BUDGET_DEMAND_FORECAST_H_
#define RATION_ENGINE_BUDGET_DEMAND_FORECAST_H_

#include <cstdint>
#include <vector>

namespace ration {

// One request's expected course.
struct ExpectedCourse {
  int64_t tokens = 0;  // held soon: cached, and of the prompt what is still to come; >= 0
  int64_t growth = 0;  // tokens it is expected to add after that, one a step; >= 0
};

// The most tokens held at once, over all steps to come. Sorts `courses`. O(n log n).
int64_t PeakTokens(std::vector<ExpectedCourse>& courses);

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_DEMAND_FORECAST_H_
