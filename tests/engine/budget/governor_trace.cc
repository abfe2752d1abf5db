// Prints the simulation of a step in the load, a row a step: seconds, fraction, wanted fraction, pressure, running, waiting.
// Layer: tests. See governor_step.gnuplot.
#include <cstdio>
#include <cstdlib>

#include "tests/engine/budget/governor_simulation.h"

int main(int argc, char** argv) {
  const double low = argc > 1 ? std::atof(argv[1]) : 3, high = argc > 2 ? std::atof(argv[2]) : 12;
  ration::GovernorSimulation simulation({});
  simulation.Run(30, low);
  simulation.Run(30, high);
  simulation.Run(30, low);
  std::printf("# seconds fraction wanted used running waiting admit\n");
  for (const auto& s : simulation.samples()) {
    std::printf("%.2f %.6f %.6f %.4f %lld %lld %d\n", s.seconds, s.fraction, s.wanted, s.used,
                static_cast<long long>(s.running), static_cast<long long>(s.waiting), s.admit);
  }
  std::fprintf(stderr, "direction changes: %lld\n", static_cast<long long>(ration::DirectionChanges(simulation.samples(), 0, 0.01)));
  return 0;
}
