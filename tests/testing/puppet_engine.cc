#include "tests/testing/puppet_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace ration {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

template <typename Condition>
bool PuppetStrings::WaitUntil(Condition condition) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!condition()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitWithTimeout(&mutex_, left);
  }
  return true;
}

std::optional<GenerationRequest> PuppetStrings::WaitForRequest(const std::string& request_id) {
  MutexLock lock(&mutex_);
  if (!WaitUntil([&] { return seen_.count(request_id) > 0; })) return std::nullopt;
  return seen_[request_id];
}

void PuppetStrings::Emit(const std::string& request_id, GenerationDelta delta) {
  MutexLock lock(&mutex_);
  const auto it = live_.find(request_id);
  if (it != live_.end()) it->second.to_send.push_back(std::move(delta));
}

void PuppetStrings::EmitText(const std::string& request_id, std::string text) {
  GenerationDelta delta;
  delta.text = std::move(text);
  delta.token_ids = {1};
  Emit(request_id, std::move(delta));
}

void PuppetStrings::Finish(const std::string& request_id, FinishInfo finish) {
  GenerationDelta delta;
  delta.finish = std::move(finish);
  Emit(request_id, std::move(delta));
}

bool PuppetStrings::WaitUntilPaused(const std::string& request_id) {
  MutexLock lock(&mutex_);
  return WaitUntil([&] {
    const auto it = live_.find(request_id);
    return it != live_.end() && it->second.paused;
  });
}

bool PuppetStrings::WaitUntilResumed(const std::string& request_id) {
  MutexLock lock(&mutex_);
  return WaitUntil([&] {
    const auto it = live_.find(request_id);
    return it != live_.end() && !it->second.paused;
  });
}

bool PuppetStrings::WaitUntilGone(const std::string& request_id) {
  MutexLock lock(&mutex_);
  return WaitUntil([&] { return seen_.count(request_id) > 0 && live_.count(request_id) == 0; });
}

std::optional<FinishReason> PuppetStrings::EndOf(const std::string& request_id) {
  MutexLock lock(&mutex_);
  const auto it = ended_.find(request_id);
  if (it == ended_.end()) return std::nullopt;
  return it->second;
}

int64_t PuppetStrings::num_live() {
  MutexLock lock(&mutex_);
  return static_cast<int64_t>(live_.size());
}

int64_t PuppetStrings::num_submitted() {
  MutexLock lock(&mutex_);
  return submitted_;
}

void PuppetStrings::RejectWith(absl::Status status) {
  MutexLock lock(&mutex_);
  reject_with_ = std::move(status);
}

void PuppetStrings::StartAutopilot(std::string text) {
  MutexLock lock(&mutex_);
  autopilot_text_ = std::move(text);
}

PuppetEngine::PuppetEngine(std::shared_ptr<PuppetStrings> strings, const Clock* clock)
    : strings_(std::move(strings)), clock_(clock) {
  stats_.published = clock_->Now();
  stats_.kv_budget_bytes = 1 << 20;
  stats_.kv_page_bytes = 1024;
  stats_.num_experts = 2;
  stats_.num_layers = 2;
  stats_.ratio = {0.5, 0.5};
  stats_.policy_epoch = 1;
}

absl::Status PuppetEngine::Submit(GenerationRequest request, OutputSink* sink) {
  MutexLock lock(&strings_->mutex_);
  ++strings_->submitted_;
  if (!strings_->reject_with_.ok()) return strings_->reject_with_;
  const std::string id = request.request_id;
  if (strings_->live_.count(id) > 0) return absl::AlreadyExistsError(absl::StrCat("request_id: \"", id, "\" is live"));
  strings_->seen_[id] = request;
  PuppetStrings::Live& live = strings_->live_[id];
  live.request = std::move(request);
  live.sink = sink;
  strings_->changed_.SignalAll();
  return absl::OkStatus();
}

// Sends without the lock, as sinks must be free to call anything.
void PuppetEngine::Send(const std::string& request_id, PuppetStrings::Live* live, GenerationDelta delta) {
  const bool last = delta.finish.has_value();
  const FinishReason reason = last ? delta.finish->reason : FinishReason::kLength;
  stats_.generated_tokens += static_cast<int64_t>(delta.token_ids.size());
  if (last) ++stats_.requests_finished[static_cast<size_t>(reason)];
  const bool has_room = live->sink->OnDelta(std::move(delta));
  MutexLock lock(&strings_->mutex_);
  if (last) {
    strings_->ended_[request_id] = reason;
    strings_->live_.erase(request_id);
  } else if (!has_room) {
    live->paused = true;
  }
  strings_->changed_.SignalAll();
}

bool PuppetEngine::Abort(const std::string& request_id, FinishReason reason) {
  PuppetStrings::Live* live = nullptr;
  {
    MutexLock lock(&strings_->mutex_);
    const auto it = strings_->live_.find(request_id);
    if (it == strings_->live_.end()) return false;
    live = &it->second;  // only this thread erases
  }
  GenerationDelta delta;
  delta.finish.emplace().reason = reason;
  Send(request_id, live, std::move(delta));
  return true;
}

void PuppetEngine::Resume(const std::string& request_id) {
  MutexLock lock(&strings_->mutex_);
  const auto it = strings_->live_.find(request_id);
  if (it != strings_->live_.end()) it->second.paused = false;
  strings_->changed_.SignalAll();
}

bool PuppetEngine::Step() {
  struct Piece {
    std::string id;
    PuppetStrings::Live* live;
    GenerationDelta delta;
  };
  std::vector<Piece> pieces;
  {
    MutexLock lock(&strings_->mutex_);
    for (auto& [id, live] : strings_->live_) {
      if (strings_->autopilot_text_.has_value() && !live.paused) {
        GenerationDelta delta;
        if (live.generated == 0) delta.prompt.emplace().prompt_tokens = static_cast<int64_t>(live.request.prompt_tokens.size());
        delta.token_ids = {1};
        delta.text = *strings_->autopilot_text_;
        if (++live.generated >= live.request.stopping.max_new_tokens) {
          FinishInfo& finish = delta.finish.emplace();
          finish.generated_tokens = live.generated;
        }
        live.to_send.push_back(std::move(delta));
      }
      for (GenerationDelta& delta : live.to_send) pieces.push_back({id, &live, std::move(delta)});
      live.to_send.clear();
    }
    stats_.requests_running = static_cast<int64_t>(strings_->live_.size());
  }
  std::string finished;  // pieces behind a finish are dropped, as the request is gone
  for (Piece& piece : pieces) {
    if (piece.id == finished) continue;
    if (piece.delta.finish.has_value()) finished = piece.id;
    Send(piece.id, piece.live, std::move(piece.delta));
  }
  stats_.published = clock_->Now();
  ++stats_.steps;
  return !pieces.empty();
}

absl::Time PuppetEngine::NextWakeup() const { return clock_->Now() + absl::Milliseconds(1); }

bool PuppetEngine::HasRequests() const {
  MutexLock lock(&strings_->mutex_);
  return !strings_->live_.empty();
}

absl::StatusOr<int64_t> PuppetEngine::SetRatio(const Ratio&, std::optional<int64_t>) {
  return absl::FailedPreconditionError("the ratio is fixed");
}

absl::StatusOr<int64_t> PuppetEngine::SetPolicy(const PolicyChange&, std::optional<int64_t>) {
  return absl::FailedPreconditionError("the policy is fixed");
}

void PuppetEngine::SetBudget(const BudgetChange&, std::optional<int64_t>, BudgetDone done) {
  done(absl::FailedPreconditionError("the budget is fixed"));
}

}  // namespace ration
