#include "tests/engine/budget/governor_simulation.h"

#include <algorithm>
#include <cmath>

namespace ration {
namespace {

constexpr double kTokenBytes = 1024;  // at full KV
constexpr int64_t kPromptTokensPerStep = 2048;
constexpr int64_t kNearSteps = 8;

}  // namespace

GovernorSimulation::GovernorSimulation(const Options& options) : options_(options), random_(options.seed) {}

void GovernorSimulation::Arrive() {
  const auto draw = [this](int64_t mean) {
    return std::uniform_int_distribution<int64_t>((mean + 1) / 2, mean + mean / 2)(random_);
  };
  Sequence sequence;
  sequence.prompt_left = draw(options_.prompt_tokens);
  sequence.output_left = draw(options_.output_tokens);
  waiting_.push_back(sequence);
}

void GovernorSimulation::Run(double seconds, double arrivals_per_second) {
  const int64_t steps = std::llround(seconds / options_.step_seconds);
  std::poisson_distribution<int64_t> arrivals(arrivals_per_second * options_.step_seconds);
  for (int64_t i = 0; i < steps; ++i) Step(arrivals_per_second > 0 ? arrivals(random_) : 0);
}

double GovernorSimulation::UsedBytes() const {
  double bytes = 0;
  for (const Sequence& sequence : running_) bytes += sequence.cached;
  return bytes;
}

void GovernorSimulation::RegroupTo(double bytes, double fraction) {
  double used = UsedBytes();
  for (Sequence& sequence : running_) {
    if (used <= bytes) return;
    const double lowest = std::min(sequence.cached, fraction * sequence.cached_full);
    const double freed = std::min(used - bytes, sequence.cached - lowest);
    sequence.cached -= freed;
    used -= freed;
  }
}

void GovernorSimulation::Step(int64_t arrivals) {
  for (int64_t i = 0; i < arrivals; ++i) Arrive();
  const double budget = options_.budget_tokens * kTokenBytes;
  DemandClass demand;
  demand.floor = options_.floor;
  double cached = 0, cached_full = 0, expected = 0, near_tokens = 0, reserved = 0;
  for (const Sequence& sequence : running_) {
    cached += sequence.cached;
    cached_full += sequence.cached_full;
    expected += static_cast<double>(sequence.prompt_left + sequence.output_left) * kTokenBytes;
    near_tokens += static_cast<double>(std::min(kNearSteps, sequence.output_left) + sequence.prompt_left);
    reserved += options_.floor * (sequence.cached_full +
                                  static_cast<double>(sequence.prompt_left + sequence.output_left) * kTokenBytes);
  }
  double waiting = 0;
  for (const Sequence& sequence : waiting_) {
    waiting += static_cast<double>(sequence.prompt_left + sequence.output_left) * kTokenBytes;
  }
  demand.cached_bytes = static_cast<int64_t>(cached);
  demand.cached_full_bytes = static_cast<int64_t>(cached_full);
  demand.demand_full_bytes = static_cast<int64_t>(expected);
  demand.waiting_full_bytes = static_cast<int64_t>(waiting);
  GovernorInput input;
  input.budget_bytes = static_cast<int64_t>(budget);
  input.classes = {&demand, 1};
  input.near_demand_bytes =
      static_cast<int64_t>(std::min(near_tokens, static_cast<double>(kNearSteps * kPromptTokensPerStep)) * kTokenBytes * level_);
  input.floor = options_.floor;
  input.level = level_;
  input.elapsed_seconds = options_.step_seconds;
  const GovernorDecision decision = Govern(input, options_.gains);
  level_ = decision.level;

  RegroupTo(static_cast<double>(decision.regroup_to_bytes), decision.fraction);
  // Admission as the engine's: what running requests come to at their floors fits.
  while (!waiting_.empty() && decision.admit && static_cast<int64_t>(running_.size()) < options_.max_running) {
    const Sequence& next = waiting_.front();
    reserved += options_.floor * static_cast<double>(next.prompt_left + next.output_left) * kTokenBytes;
    if (reserved > budget * (1 - options_.gains.headroom)) break;
    running_.push_back(next);
    waiting_.pop_front();
  }
  int64_t prompt_room = kPromptTokensPerStep;
  for (Sequence& sequence : running_) {
    int64_t tokens = 0;
    if (sequence.prompt_left > 0) {
      tokens = std::min(sequence.prompt_left, prompt_room);
      prompt_room -= tokens;
      sequence.prompt_left -= tokens;
    } else {
      tokens = 1;
      --sequence.output_left;
    }
    sequence.cached += decision.fraction * static_cast<double>(tokens) * kTokenBytes;
    sequence.cached_full += static_cast<double>(tokens) * kTokenBytes;
  }
  // The hard bound, whatever the governor says.
  if (UsedBytes() > budget) RegroupTo(budget, options_.floor);
  worst_excess_ = std::max(worst_excess_, UsedBytes() - budget);
  running_.erase(std::remove_if(running_.begin(), running_.end(),
                                [](const Sequence& s) { return s.prompt_left == 0 && s.output_left <= 0; }),
                 running_.end());
  seconds_ += options_.step_seconds;
  samples_.push_back({seconds_, decision.fraction, decision.wanted_fraction, UsedBytes() / budget,
                      static_cast<int64_t>(running_.size()), static_cast<int64_t>(waiting_.size()), decision.admit});
}

int64_t DirectionChanges(const std::vector<GovernorSimulation::Sample>& samples, size_t first, double least) {
  int64_t changes = 0;
  int direction = 0;
  double extreme = samples[first].fraction;  // the furthest point in the present direction
  for (size_t i = first; i < samples.size(); ++i) {
    const double fraction = samples[i].fraction;
    if (direction > 0 && fraction > extreme) extreme = fraction;
    if (direction < 0 && fraction < extreme) extreme = fraction;
    if (std::abs(fraction - extreme) < least) continue;
    const int now = fraction > extreme ? 1 : -1;
    changes += direction != 0 && now != direction;
    direction = now;
    extreme = fraction;
  }
  return changes;
}

}  // namespace ration
