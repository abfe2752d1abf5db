// The governor's law: from a plain snapshot of memory and demand to the KV fraction at which new tokens are routed, the level to
// which cached tokens shall be regrouped, and whether waiting requests may be admitted. A pure function: no clock, no state, no
// engine; the BudgetController feeds it once a step and carries its decision out. See docs/budget_control.md.
// Layer: engine/budget. Thread-safe.
//
// The law. Let need(f) be the bytes that the tokens cached now and those still expected take when every token above the fraction
// max(f, its request's floor) is brought down to it:
//   need(f) = waste + sum over classes of min(cached, max(f, floor) * cached_full) + max(f, floor) * (demand_full + waiting_full).
// Let x be the largest f in [floor, ceiling + dead_band] with need(f) <= budget - headroom; the floor if there is none. The wanted
// fraction is min(x, ceiling). The level follows it: at once where it is lower; at rise_per_second where it is higher, but only up to
// x - dead_band, so that demand may swing by the dead band before anything falls again. The level is kept exact (a step earns less
// than a quantum); the fraction is the level rounded down to a multiple of `quantum`, so that few different ratios come up.
// Cached tokens are regrouped only as memory is needed soon: to budget - headroom - near_demand, never below what need's first sum
// gives at the fraction. Those that wait count in need(f), so that room is made for them, but not in `admit`: they fill nothing yet.
#ifndef RATION_ENGINE_BUDGET_GOVERNOR_H_
#define RATION_ENGINE_BUDGET_GOVERNOR_H_

#include <cstdint>

#include "absl/types/span.h"

namespace ration {

struct GovernorGains {
  double rise_per_second = 0.25;    // > 0; KV fraction gained in a second at most
  double dead_band = 1.0 / 16;      // >= 0; kept between what would fit and what a rise takes
  double quantum = 1.0 / 64;        // (0, 1]; fractions between floor and ceiling are multiples of it
  double headroom = 0.02;           // [0, 0.5]; share of the budget kept free
};

// Running and waiting requests with the same floor, added up.
struct DemandClass {
  double floor = 0;                     // KV fraction below which these requests' tokens never go
  int64_t cached_bytes = 0;             // tokens cached now
  int64_t cached_full_bytes = 0;        // the same tokens at full KV
  int64_t demand_full_bytes = 0;        // tokens still expected of those that run, at full KV
  int64_t waiting_full_bytes = 0;       // and of those that wait
};

struct GovernorInput {
  int64_t budget_bytes = 0;             // > 0
  int64_t waste_bytes = 0;              // pages in use beyond the tokens in them
  absl::Span<const DemandClass> classes;
  int64_t near_demand_bytes = 0;        // what the next few steps may append, at the fraction in force
  double floor = 0;                     // the policy's bounds, 0 < floor <= ceiling <= 1
  double ceiling = 1;
  double level = 1;                     // of the last decision
  double elapsed_seconds = 0;           // since the last decision, >= 0
};

struct GovernorDecision {
  double level = 1;                     // the next decision's input
  double fraction = 1;                  // for tokens not yet routed: the level, rounded down
  double wanted_fraction = 1;           // before rate limit and dead band
  // Regroup until the pages in use take at most this many bytes; >= the bytes in use: nothing to do.
  int64_t regroup_to_bytes = 0;
  // False: even at the floor the running requests are expected to fill the budget; those that wait stay there.
  bool admit = true;
};

// need(f) of the law above; non-decreasing in `fraction`.
double NeedBytes(const GovernorInput& input, double fraction);

// REQUIRES: the ranges named above. O(classes log classes).
GovernorDecision Govern(const GovernorInput& input, const GovernorGains& gains);

}  // namespace ration

#endif  // RATION_ENGINE_BUDGET_GOVERNOR_H_
