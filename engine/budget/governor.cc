#include "engine/budget/governor.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/base/check.h"

namespace ration {
namespace {

// A level this close below a multiple of the quantum is that multiple.
constexpr double kRounding = 1e-9;

double FractionOf(const DemandClass& demand, double fraction) { return std::max(fraction, demand.floor); }

double CachedBytes(const DemandClass& demand, double fraction) {
  return std::min(static_cast<double>(demand.cached_bytes),
                  FractionOf(demand, fraction) * static_cast<double>(demand.cached_full_bytes));
}

// The largest f in [floor, top] with need(f) <= room; the floor if there is none. need is continuous, non-decreasing and linear between
// the points where a class leaves its floor and where its cached tokens fit as they are.
double LargestFraction(const GovernorInput& input, double top, double room) {
  const double floor = input.floor;
  if (NeedBytes(input, top) <= room) return top;
  double low_need = NeedBytes(input, floor);
  if (low_need > room) return floor;
  std::vector<double> points = {floor, top};
  for (const DemandClass& demand : input.classes) {
    const auto add = [&](double point) {
      if (point > floor && point < top) points.push_back(point);
    };
    add(demand.floor);
    if (demand.cached_full_bytes > 0) {
      add(static_cast<double>(demand.cached_bytes) / static_cast<double>(demand.cached_full_bytes));
    }
  }
  std::sort(points.begin(), points.end());
  // The first point that needs too much; the one before it does not.
  const auto above = std::partition_point(points.begin() + 1, points.end() - 1,
                                          [&](double point) { return NeedBytes(input, point) <= room; });
  const double low = *(above - 1), high = *above;
  low_need = NeedBytes(input, low);
  const double slope = NeedBytes(input, high) - low_need;
  if (!(slope > 0)) return low;
  return std::clamp(low + (room - low_need) / slope * (high - low), low, high);
}

}  // namespace

double NeedBytes(const GovernorInput& input, double fraction) {
  double bytes = static_cast<double>(input.waste_bytes);
  for (const DemandClass& demand : input.classes) {
    bytes += CachedBytes(demand, fraction) +
             FractionOf(demand, fraction) * (static_cast<double>(demand.demand_full_bytes) +
                                             static_cast<double>(demand.waiting_full_bytes));
  }
  return bytes;
}

GovernorDecision Govern(const GovernorInput& input, const GovernorGains& gains) {
  RATION_CHECK(input.budget_bytes > 0 && input.floor > 0 && input.floor <= input.ceiling && input.ceiling <= 1);
  RATION_CHECK(gains.quantum > 0 && gains.rise_per_second > 0 && input.elapsed_seconds >= 0);
  const double room = (1 - gains.headroom) * static_cast<double>(input.budget_bytes);
  const double fits = LargestFraction(input, input.ceiling + gains.dead_band, room);

  GovernorDecision decision;
  decision.wanted_fraction = std::min(fits, input.ceiling);
  // The bounds may have changed since.
  const double level = std::clamp(input.level, input.floor, input.ceiling);
  const double calm = std::min(fits - gains.dead_band, input.ceiling);
  decision.level = level;
  if (decision.wanted_fraction < level) {
    decision.level = decision.wanted_fraction;
  } else if (calm > level) {
    decision.level = std::min(calm, level + gains.rise_per_second * input.elapsed_seconds);
  }
  decision.fraction = decision.level;
  if (decision.level < input.ceiling) {
    const double rounded = std::floor(decision.level / gains.quantum + kRounding) * gains.quantum;
    decision.fraction = std::max(input.floor, rounded);
  }

  double cached = static_cast<double>(input.waste_bytes), running_at_floor = cached;
  for (const DemandClass& demand : input.classes) {
    cached += CachedBytes(demand, decision.fraction);
    running_at_floor += CachedBytes(demand, input.floor) +
                        FractionOf(demand, input.floor) * static_cast<double>(demand.demand_full_bytes);
  }
  const double soon = room - static_cast<double>(input.near_demand_bytes);
  decision.regroup_to_bytes = static_cast<int64_t>(std::ceil(std::max(soon, cached)));
  decision.admit = running_at_floor <= room;
  return decision;
}

}  // namespace ration
