#include "engine/engine_stats.h"

#include <algorithm>

namespace ration {
namespace {

// vLLM's buckets, so that dashboards and routers made for them read ours, with finer ones below where theirs begin too late for small
// models and short queues.
const std::vector<double>& FirstTokenSeconds() {
  static const auto* const bounds = new std::vector<double>{
      0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560};
  return *bounds;
}

const std::vector<double>& TokenSeconds() {
  static const auto* const bounds =
      new std::vector<double>{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
                              0.4,    0.5,   0.75,   1,     2.5,  5,     7.5,  10,    20,  40,   80};
  return *bounds;
}

const std::vector<double>& RequestSeconds() {
  static const auto* const bounds =
      new std::vector<double>{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.8, 1,   1.5, 2,    2.5, 5,
                              10,    15,    20,   30,    40,   50,  60,  120, 240, 480, 960, 1920, 7680};
  return *bounds;
}

// A step reads every weight once: from well under a millisecond (a toy model) to seconds (a large one, a long prompt).
const std::vector<double>& StepSeconds() {
  static const auto* const bounds = new std::vector<double>{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                            0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10};
  return *bounds;
}

// Bookkeeping beside a step: microseconds, unless something is wrong.
const std::vector<double>& ControlSeconds() {
  static const auto* const bounds = new std::vector<double>{0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005,
                                                            0.0001,   0.00025,   0.0005,   0.001,   0.0025,   0.01};
  return *bounds;
}

const std::vector<double>& StepTokens() {
  static const auto* const bounds =
      new std::vector<double>{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  return *bounds;
}

}  // namespace

void HistogramData::Observe(double value) {
  const size_t bucket = std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin();
  ++counts[bucket];
  sum += value;
}

int64_t EngineStats::regrouped_total() const {
  int64_t total = 0;
  for (const auto& from : regrouped_token_layers) {
    for (int64_t count : from) total += count;
  }
  return total;
}

EngineStats::EngineStats()
    : time_to_first_token(FirstTokenSeconds()),
      inter_token_latency(TokenSeconds()),
      time_per_output_token(TokenSeconds()),
      request_seconds(RequestSeconds()),
      queue_seconds(RequestSeconds()),
      step_seconds(StepSeconds()),
      regroup_seconds(StepSeconds()),
      control_seconds(ControlSeconds()),
      step_tokens(StepTokens()) {}

}  // namespace ration
