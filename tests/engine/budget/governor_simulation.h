// A discrete simulation of a server's memory under the governor: sequences arrive, cache their prompt and a token a step at the
// decided fraction, are regrouped when asked to, and are freed. Bytes without pages, routers or a model. For tests and plots.
// Layer: tests. Deterministic in its seed.
#ifndef RATION_TESTS_ENGINE_BUDGET_GOVERNOR_SIMULATION_H_
#define RATION_TESTS_ENGINE_BUDGET_GOVERNOR_SIMULATION_H_

#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "engine/budget/governor.h"

namespace ration {

class GovernorSimulation {
 public:
  struct Options {
    double budget_tokens = 40000;  // in tokens at full KV
    double floor = 0.25;
    GovernorGains gains;
    double step_seconds = 0.03;
    int64_t prompt_tokens = 512;       // means; lengths are uniform between half and one and a half of them
    int64_t output_tokens = 256;
    int64_t max_running = 1000;
    uint64_t seed = 1;
  };
  struct Sample {
    double seconds = 0;
    double fraction = 0, wanted = 0;
    double used = 0;  // share of the budget
    int64_t running = 0, waiting = 0;
    bool admit = true;
  };

  explicit GovernorSimulation(const Options& options);

  // Runs on with Poisson arrivals of this rate, appending a sample a step.
  void Run(double seconds, double arrivals_per_second);
  // Lets one sequence arrive now.
  void Arrive();

  const std::vector<Sample>& samples() const { return samples_; }
  // The largest amount by which the bytes in use ever exceeded the budget after a step's regrouping; <= 0: never.
  double worst_excess_bytes() const { return worst_excess_; }

 private:
  struct Sequence {
    double cached = 0, cached_full = 0;  // bytes
    int64_t prompt_left = 0, output_left = 0;
  };
  void Step(int64_t arrivals);
  double UsedBytes() const;
  // Brings cached tokens down towards `fraction` until `bytes` are used.
  void RegroupTo(double bytes, double fraction);

  const Options options_;
  std::mt19937_64 random_;
  std::vector<Sequence> running_;
  std::deque<Sequence> waiting_;
  double seconds_ = 0;
  double level_ = 1;
  double worst_excess_ = -1e300;
  std::vector<Sample> samples_;
};

// How often the fraction went from falling to rising or back among samples [first, end), moves of less than `least` not counted.
int64_t DirectionChanges(const std::vector<GovernorSimulation::Sample>& samples, size_t first, double least);

}  // namespace ration

#endif  // RATION_TESTS_ENGINE_BUDGET_GOVERNOR_SIMULATION_H_
