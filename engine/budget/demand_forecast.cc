#include "engine/budget/demand_forecast.h"

#include <algorithm>

namespace ration {

// The sum grows while nobody ends, so a peak comes just before an end: after growth_i steps those with as much growth or more are there,
// each with its tokens and growth_i.
int64_t PeakTokens(std::vector<ExpectedCourse>& courses) {
  std::sort(courses.begin(), courses.end(),
            [](const ExpectedCourse& a, const ExpectedCourse& b) { return a.growth > b.growth; });
  int64_t peak = 0, tokens = 0, there = 0;
  for (const ExpectedCourse& course : courses) {
    tokens += course.tokens;
    ++there;
    peak = std::max(peak, tokens + there * course.growth);
  }
  return peak;
}

}  // namespace ration
