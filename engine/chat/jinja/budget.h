// What one rendering may take: steps, memory alive at once, depth. Every template and every message is of outside
// origin, so whatever grows asks here first.
// Layer: engine/chat/jinja. Thread-compatible: one rendering, one thread.
#ifndef RATION_ENGINE_CHAT_JINJA_BUDGET_H_
#define RATION_ENGINE_CHAT_JINJA_BUDGET_H_

#include <cstdint>

#include "absl/status/status.h"

namespace ration::jinja {

struct RenderLimits {
  // One step is an expression or statement evaluated, an element looked at, or kBytesPerStep bytes copied or searched.
  // About 50 ns.
  int64_t steps = 4'000'000;
  int64_t memory_bytes = int64_t{64} << 20;  // of values alive at once, what was passed in not counted
  int64_t output_bytes = int64_t{4} << 20;   // of the rendered text
  int depth = 300;  // of statements and expressions inside one another, through macro calls too
};

class RenderBudget {
 public:
  static constexpr int64_t kBytesPerStep = 256;

  explicit RenderBudget(const RenderLimits& limits) : limits_(limits) {}
  RenderBudget(const RenderBudget&) = delete;
  RenderBudget& operator=(const RenderBudget&) = delete;

  // Takes `count` steps. InvalidArgument names the limit.
  absl::Status Steps(int64_t count) {
    steps_ += count;
    if (steps_ <= limits_.steps) return absl::OkStatus();
    return OutOfSteps();
  }
  // The steps of going through `bytes` of text.
  absl::Status Work(int64_t bytes) { return Steps(1 + bytes / kBytesPerStep); }

  // Whether `bytes` more would fit now, for asking before something large is built. InvalidArgument names the limit.
  absl::Status Fits(int64_t bytes) const;

  const RenderLimits& limits() const { return limits_; }
  int64_t memory_bytes() const { return memory_bytes_; }

 private:
  friend class MemoryCharge;
  absl::Status OutOfSteps() const;

  const RenderLimits limits_;
  int64_t steps_ = 0;
  int64_t memory_bytes_ = 0;
};

// Memory counted for as long as this lives. Without a budget (constants of a template, what is passed in) nothing is
// counted.
class MemoryCharge {
 public:
  MemoryCharge() = default;
  MemoryCharge(RenderBudget* budget, int64_t bytes) : budget_(budget), bytes_(bytes) {
    if (budget_ != nullptr) budget_->memory_bytes_ += bytes_;
  }
  MemoryCharge(const MemoryCharge&) = delete;
  MemoryCharge& operator=(const MemoryCharge&) = delete;
  ~MemoryCharge() {
    if (budget_ != nullptr) budget_->memory_bytes_ -= bytes_;
  }

 private:
  RenderBudget* budget_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace ration::jinja

#endif  // RATION_ENGINE_CHAT_JINJA_BUDGET_H_
