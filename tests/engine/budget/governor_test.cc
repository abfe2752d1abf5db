// Tests engine/budget/governor.cc: the law's properties on random inputs, and what it does in a simulated server.
#include "engine/budget/governor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tests/engine/budget/governor_simulation.h"

namespace ration {
namespace {

constexpr double kTolerance = 1e-9;

struct Case {
  std::vector<DemandClass> classes;
  GovernorInput input;
  GovernorGains gains;
  GovernorDecision Decide() {
    input.classes = classes;
    return Govern(input, gains);
  }
};

Case RandomCase(std::mt19937_64& random) {
  const auto uniform = [&random](double low, double high) { return std::uniform_real_distribution<double>(low, high)(random); };
  Case c;
  c.input.floor = uniform(0.05, 0.6);
  c.input.ceiling = uniform(c.input.floor, 1);
  c.input.level = uniform(c.input.floor, c.input.ceiling);
  c.input.budget_bytes = static_cast<int64_t>(uniform(1, 1e12));
  c.input.waste_bytes = static_cast<int64_t>(uniform(0, 0.1) * static_cast<double>(c.input.budget_bytes));
  c.input.elapsed_seconds = random() % 4 == 0 ? 0 : uniform(0, 0.2);
  const int num_classes = static_cast<int>(random() % 6);
  for (int i = 0; i < num_classes; ++i) {
    DemandClass demand;
    demand.floor = uniform(0.05, 1);
    demand.cached_full_bytes =
        random() % 5 == 0 ? 0 : static_cast<int64_t>(uniform(0, 1) * static_cast<double>(c.input.budget_bytes));
    demand.cached_bytes = static_cast<int64_t>(uniform(0.05, 1) * static_cast<double>(demand.cached_full_bytes));
    demand.demand_full_bytes =
        random() % 5 == 0 ? 0 : static_cast<int64_t>(uniform(0, 1) * static_cast<double>(c.input.budget_bytes));
    demand.waiting_full_bytes =
        random() % 2 == 0 ? 0 : static_cast<int64_t>(uniform(0, 1) * static_cast<double>(c.input.budget_bytes));
    c.classes.push_back(demand);
  }
  c.input.near_demand_bytes = static_cast<int64_t>(uniform(0, 0.2) * static_cast<double>(c.input.budget_bytes));
  c.input.classes = c.classes;
  return c;
}

// The worked example of docs/budget_control.md.
TEST(Governor, WorkedExample) {
  Case c;
  c.classes = {{/*floor=*/0.25, /*cached=*/300, /*cached_full=*/400, /*demand_full=*/400, /*waiting_full=*/200},
               {/*floor=*/0.5, /*cached=*/100, /*cached_full=*/100, /*demand_full=*/100, /*waiting_full=*/0}};
  c.input.budget_bytes = 1000;
  c.input.waste_bytes = 40;
  c.input.near_demand_bytes = 320;
  c.input.floor = 0.25;
  c.input.elapsed_seconds = 0.04;
  c.input.classes = c.classes;
  EXPECT_DOUBLE_EQ(NeedBytes(c.input, 0.25), 390);
  EXPECT_DOUBLE_EQ(NeedBytes(c.input, 0.5), 640);
  EXPECT_DOUBLE_EQ(NeedBytes(c.input, 0.75), 940);
  EXPECT_DOUBLE_EQ(NeedBytes(c.input, 1), 1140);
  GovernorDecision decision = c.Decide();
  EXPECT_NEAR(decision.wanted_fraction, 0.8, kTolerance);
  EXPECT_NEAR(decision.level, 0.8, kTolerance);
  EXPECT_DOUBLE_EQ(decision.fraction, 51.0 / 64);
  EXPECT_EQ(decision.regroup_to_bytes, 660);  // 980 - 320, more than 40 + 300 + 79.7
  EXPECT_TRUE(decision.admit);
  // From below: 0.01 a step of 40 ms, up to 0.8 - 1/16.
  c.input.level = 0.6;
  decision = c.Decide();
  EXPECT_NEAR(decision.level, 0.61, kTolerance);
  EXPECT_DOUBLE_EQ(decision.fraction, 39.0 / 64);
  c.input.level = 0.73;
  EXPECT_NEAR(c.Decide().level, 0.7375, kTolerance);
  c.input.level = 0.75;
  EXPECT_DOUBLE_EQ(c.Decide().level, 0.75);
}

TEST(Governor, WantedFractionIsTheLargestThatFits) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    Case c = RandomCase(random);
    const double wanted = c.Decide().wanted_fraction;
    const double room = (1 - c.gains.headroom) * static_cast<double>(c.input.budget_bytes);
    const double slack = kTolerance * static_cast<double>(c.input.budget_bytes);
    if (wanted > c.input.floor) {
      EXPECT_LE(NeedBytes(c.input, wanted), room + slack);
    }
    // What is more needs too much, or is out of bounds.
    if (wanted < c.input.ceiling) {
      EXPECT_GT(NeedBytes(c.input, wanted + 1e-6), room - slack);
    }
  }
}

TEST(Governor, DecisionsAreFiniteAndWithinBoundsAndOfTheQuantum) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20000; ++i) {
    Case c = RandomCase(random);
    const GovernorDecision decision = c.Decide();
    for (double fraction : {decision.fraction, decision.level, decision.wanted_fraction}) {
      ASSERT_GE(fraction, c.input.floor);  // false for NaN
      ASSERT_LE(fraction, c.input.ceiling);
    }
    ASSERT_LE(decision.fraction, decision.level + kTolerance);
    ASSERT_LE(decision.fraction, std::max(c.input.level, decision.wanted_fraction) + kTolerance);
    const double quanta = decision.fraction / c.gains.quantum;
    ASSERT_TRUE(decision.fraction == c.input.floor || decision.fraction == c.input.ceiling ||
                std::abs(quanta - std::round(quanta)) < kTolerance);
    ASSERT_GE(decision.regroup_to_bytes, 0);
  }
}

TEST(Governor, FallsAtOnceAndRisesByRateAndOnlyPastTheDeadBand) {
  std::mt19937_64 random(3);
  int fell = 0, rose = 0, stayed = 0;
  for (int i = 0; i < 20000; ++i) {
    Case c = RandomCase(random);
    const GovernorDecision decision = c.Decide();
    if (decision.wanted_fraction < c.input.level) {
      ++fell;
      EXPECT_EQ(decision.level, decision.wanted_fraction);
      continue;
    }
    EXPECT_GE(decision.level, c.input.level);
    EXPECT_LE(decision.level, c.input.level + c.gains.rise_per_second * c.input.elapsed_seconds + kTolerance);
    (decision.level > c.input.level ? rose : stayed) += 1;
    if (decision.wanted_fraction < c.input.ceiling && decision.wanted_fraction - c.input.level <= c.gains.dead_band) {
      EXPECT_EQ(decision.level, c.input.level);
    }
  }
  EXPECT_GT(fell, 1000);
  EXPECT_GT(rose, 1000);
  EXPECT_GT(stayed, 1000);
}

TEST(Governor, IsMonotoneInBudgetDemandAndCachedTokens) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 20000; ++i) {
    Case c = RandomCase(random);
    const GovernorDecision before = c.Decide();
    bool less_room = true;
    const int what = static_cast<int>(random() % 4);
    if (what == 0 || c.classes.empty()) {
      c.input.budget_bytes += 1 + c.input.budget_bytes / 7;
      less_room = false;
    } else {
      DemandClass& demand = c.classes[random() % c.classes.size()];
      const int64_t more = 1 + c.input.budget_bytes / 11;
      if (what == 1) demand.demand_full_bytes += more;
      if (what == 2) demand.waiting_full_bytes += more;
      if (what == 3) {
        demand.cached_bytes += more;
        demand.cached_full_bytes += more;
      }
    }
    const GovernorDecision after = c.Decide();
    const GovernorDecision &poorer = less_room ? after : before, &richer = less_room ? before : after;
    EXPECT_LE(poorer.wanted_fraction, richer.wanted_fraction + kTolerance);
    EXPECT_LE(poorer.level, richer.level + kTolerance);
    EXPECT_LE(poorer.fraction, richer.fraction + kTolerance);
    EXPECT_LE(poorer.admit, richer.admit);
  }
}

TEST(Governor, WithoutDemandEverythingIsKeptAndAdmitted) {
  Case c;
  c.input.budget_bytes = 1;
  c.input.floor = 0.25;
  c.input.level = 0.25;
  EXPECT_EQ(c.Decide().wanted_fraction, 1);
  EXPECT_EQ(c.Decide().fraction, 0.25);  // no time has passed
  c.input.elapsed_seconds = 100;
  EXPECT_EQ(c.Decide().fraction, 1);
  EXPECT_TRUE(c.Decide().admit);
}

TEST(Governor, HoldsTheQueueOnlyForWhatRunsNotForWhatWaits) {
  Case c;
  c.classes.resize(1);
  c.input.budget_bytes = 1000;
  c.input.floor = c.classes[0].floor = 0.25;
  c.classes[0].waiting_full_bytes = 1000000;
  EXPECT_TRUE(c.Decide().admit);
  EXPECT_EQ(c.Decide().fraction, 0.25);
  c.classes[0].demand_full_bytes = 3920;  // a quarter is the budget less the headroom
  EXPECT_TRUE(c.Decide().admit);
  c.classes[0].demand_full_bytes = 3924;
  EXPECT_FALSE(c.Decide().admit);
}

TEST(Governor, RegroupsOnlyWhatIsNeededSoonAndNeverBelowTheFraction) {
  Case c;
  c.classes = {{0.25, 900, 900, 900, 0}};
  c.input.budget_bytes = 1000;
  c.input.floor = 0.25;
  // need(f) = 1800 f: wanted 0.544; 35/64 would be more, so 34/64.
  EXPECT_DOUBLE_EQ(c.Decide().fraction, 34.0 / 64);
  EXPECT_EQ(c.Decide().regroup_to_bytes, 980);  // nothing to do yet
  c.input.near_demand_bytes = 100;
  EXPECT_EQ(c.Decide().regroup_to_bytes, 880);
  c.input.near_demand_bytes = 900;
  EXPECT_EQ(c.Decide().regroup_to_bytes, 479);  // ceil(900 * 34 / 64)
}

TEST(GovernorSimulation, SettlesUnderAConstantLoadAtTheLimit) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    GovernorSimulation::Options options;
    options.seed = seed;
    GovernorSimulation simulation(options);
    simulation.Run(20, 8);  // full KV for these would take a little more than the budget
    const size_t transient = simulation.samples().size();
    simulation.Run(60, 8);
    // Poisson arrivals move demand by 2 % of the budget each; the fraction may follow that, but not flap: at most once a second.
    const int64_t changes = DirectionChanges(simulation.samples(), transient, 1.0 / 32);
    EXPECT_LE(changes, 60) << "seed " << seed;
    // The dead band is what calms it.
    options.gains.dead_band = 0;
    GovernorSimulation nervous(options);
    nervous.Run(80, 8);
    EXPECT_GE(DirectionChanges(nervous.samples(), transient, 1.0 / 32), changes * 3 / 2) << "seed " << seed;
    EXPECT_LE(simulation.worst_excess_bytes(), 0);
  }
}

TEST(GovernorSimulation, FallsWithinASecondOfAStepInLoadAndRecoversAtTheRate) {
  GovernorSimulation simulation({});
  simulation.Run(20, 3);
  EXPECT_EQ(simulation.samples().back().fraction, 1);
  const size_t step = simulation.samples().size();
  for (int i = 0; i < 100; ++i) simulation.Arrive();
  simulation.Run(1, 3);
  EXPECT_LT(simulation.samples().back().fraction, 0.6);
  simulation.Run(40, 3);
  EXPECT_EQ(simulation.samples().back().fraction, 1);
  const auto& samples = simulation.samples();
  const GovernorGains gains;
  for (size_t i = step; i < samples.size(); ++i) {
    EXPECT_LE(samples[i].fraction - samples[i - 1].fraction, gains.quantum + kTolerance) << "at " << samples[i].seconds;
    if (i < step + 34) continue;
    // Over a second, no more than the rate and one rounding.
    EXPECT_LE(samples[i].fraction - samples[i - 33].fraction, gains.rise_per_second + gains.quantum + kTolerance);
  }
  EXPECT_LE(simulation.worst_excess_bytes(), 0);
}

TEST(GovernorSimulation, StaysWithinTheBudgetUnderOverloadAndHoldsTheQueueAtTheFloorOnly) {
  GovernorSimulation simulation({});
  simulation.Run(60, 60);
  EXPECT_LE(simulation.worst_excess_bytes(), 0);
  EXPECT_GT(simulation.samples().back().waiting, 100);
  EXPECT_GT(simulation.samples().back().running, 100);
  for (const auto& sample : simulation.samples()) {
    if (!sample.admit) {
      EXPECT_EQ(sample.fraction, 0.25);
    }
  }
  simulation.Run(180, 0);
  EXPECT_EQ(simulation.samples().back().waiting, 0);
  EXPECT_EQ(simulation.samples().back().running, 0);
  EXPECT_EQ(simulation.samples().back().fraction, 1);
}

}  // namespace
}  // namespace ration
