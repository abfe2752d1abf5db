#include "tests/testing/puppet_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/check.h"

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

void PuppetStrings::HoldBudgets() {
  MutexLock lock(&mutex_);
  hold_budgets_ = true;
}

std::optional<BudgetChange> PuppetStrings::WaitForBudget() {
  MutexLock lock(&mutex_);
  if (!WaitUntil([&] { return budget_.has_value(); })) return std::nullopt;
  return std::exchange(budget_, std::nullopt);
}

void PuppetStrings::CompleteBudget(absl::Status status) {
  MutexLock lock(&mutex_);
  complete_budget_ = std::move(status);
}

void PuppetStrings::ChangeStats(std::function<void(EngineStats*)> change) {
  MutexLock lock(&mutex_);
  changes_.push_back(std::move(change));
}

bool PuppetStrings::HoldSteps() {
  MutexLock lock(&mutex_);
  hold_steps_ = true;
  return WaitUntil([&] { return step_held_; });
}

void PuppetStrings::ReleaseSteps() {
  MutexLock lock(&mutex_);
  hold_steps_ = false;
  changed_.SignalAll();
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
  stats_.num_experts = 3;
  stats_.num_layers = 2;
  BudgetController::Options options;
  options.experts = Experts();
  absl::StatusOr<std::unique_ptr<BudgetController>> controller = BudgetController::Create(options);
  RATION_CHECK(controller.ok());
  controller_ = *std::move(controller);
  UpdateStats();
}

PuppetEngine::~PuppetEngine() {
  if (budget_done_ != nullptr) budget_done_(absl::AbortedError("the engine ended before the budget was reached"));
}

ExpertSpec PuppetEngine::Experts() { return *ExpertSpec::Create({1, 2, 4}, 4); }

void PuppetEngine::UpdateStats() {
  stats_.policy = controller_->policy();
  stats_.policy_epoch = controller_->epoch();
  for (int e = 0; e < stats_.num_experts; ++e) stats_.ratio[e] = controller_->ratio().share(e);
  stats_.requested_kv_fraction = controller_->fraction();
  stats_.wanted_kv_fraction = controller_->wanted_fraction();
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
    strings_->step_held_ = strings_->hold_steps_;
    strings_->changed_.SignalAll();
    while (strings_->hold_steps_) strings_->changed_.Wait(&strings_->mutex_);
    strings_->step_held_ = false;
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
  std::optional<absl::Status> complete;
  std::vector<std::function<void(EngineStats*)>> changes;
  {
    MutexLock lock(&strings_->mutex_);
    if (budget_done_ != nullptr) complete = std::exchange(strings_->complete_budget_, std::nullopt);
    changes.swap(strings_->changes_);
  }
  for (const std::function<void(EngineStats*)>& change : changes) change(&stats_);
  if (complete.has_value()) EndBudget(*std::move(complete));
  stats_.published = clock_->Now();
  ++stats_.steps;
  return !pieces.empty();
}

absl::Time PuppetEngine::NextWakeup() const { return clock_->Now() + absl::Milliseconds(1); }

bool PuppetEngine::HasRequests() const {
  MutexLock lock(&strings_->mutex_);
  return !strings_->live_.empty();
}

absl::StatusOr<int64_t> PuppetEngine::SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch) {
  absl::StatusOr<int64_t> epoch = controller_->SetRatio(ratio, expected_epoch);
  UpdateStats();
  return epoch;
}

absl::StatusOr<int64_t> PuppetEngine::SetPolicy(const PolicyChange& change, std::optional<int64_t> expected_epoch) {
  absl::StatusOr<int64_t> epoch = controller_->SetPolicy(change, expected_epoch);
  UpdateStats();
  return epoch;
}

void PuppetEngine::SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done) {
  if (absl::Status status = controller_->CheckEpoch(expected_epoch); !status.ok()) return done(std::move(status));
  if (change.budget_bytes < stats_.kv_page_bytes) {
    return done(absl::InvalidArgumentError(
        absl::StrCat("budget_bytes: must be at least one page of ", stats_.kv_page_bytes, ", not ", change.budget_bytes)));
  }
  if (budget_done_ != nullptr) budget_done_(absl::AbortedError("a later change of the budget came first"));
  controller_->BumpEpoch();
  UpdateStats();
  budget_done_ = std::move(done);
  stats_.target_budget_bytes = change.budget_bytes / stats_.kv_page_bytes * stats_.kv_page_bytes;
  bool hold = false;
  {
    MutexLock lock(&strings_->mutex_);
    hold = strings_->hold_budgets_;
    strings_->budget_ = change;
    strings_->changed_.SignalAll();
  }
  if (!hold) EndBudget(absl::OkStatus());
}

void PuppetEngine::EndBudget(absl::Status status) {
  BudgetResult result;
  result.epoch = controller_->epoch();
  result.budget_bytes = *std::exchange(stats_.target_budget_bytes, std::nullopt);
  result.seconds = 0.25;
  result.reclaimed_bytes = 2048;
  result.regrouped_token_layers = 14;
  result.requests_shed = 1;
  result.requests_preempted = 3;
  const BudgetDone done = std::exchange(budget_done_, nullptr);
  if (!status.ok()) return done(std::move(status));
  stats_.kv_budget_bytes = result.budget_bytes;
  done(result);
}

}  // namespace ration
