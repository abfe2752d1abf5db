#include "engine/budget/demand_forecast.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace ration {
namespace {

// Step by step.
int64_t Simulated(const std::vector<ExpectedCourse>& courses) {
  int64_t peak = 0, longest = 0;
  for (const ExpectedCourse& course : courses) longest = std::max(longest, course.growth);
  for (int64_t step = 0; step <= longest; ++step) {
    int64_t held = 0;
    for (const ExpectedCourse& course : courses) {
      if (course.growth >= step) held += course.tokens + step;
    }
    peak = std::max(peak, held);
  }
  return peak;
}

TEST(PeakTokens, IsTheSumOfAllOnlyIfAllEndTogether) {
  std::vector<ExpectedCourse> together = {{100, 50}, {20, 50}};
  EXPECT_EQ(PeakTokens(together), 100 + 20 + 2 * 50);
  std::vector<ExpectedCourse> apart = {{100, 1}, {20, 50}};
  EXPECT_EQ(PeakTokens(apart), 100 + 20 + 2 * 1);  // at its own end the second holds 70
  std::vector<ExpectedCourse> none;
  EXPECT_EQ(PeakTokens(none), 0);
}

TEST(PeakTokens, EqualsSteppingThroughTheFuture) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<ExpectedCourse> courses(random() % 12);
    for (ExpectedCourse& course : courses) {
      course = {static_cast<int64_t>(random() % 100), static_cast<int64_t>(random() % 60)};
    }
    const int64_t want = Simulated(courses);
    EXPECT_EQ(PeakTokens(courses), want);
  }
}

}  // namespace
}  // namespace ration
