#include "engine/engine_runner.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/retry_hint.h"

namespace ration {
namespace {

constexpr absl::Duration kSnapshotInterval = absl::Milliseconds(100);
// About how long a place takes to become free; a guess that spreads the retries.
constexpr absl::Duration kFullRetryAfter = absl::Seconds(1);
// What the first guess of tokens a byte weighs, and how many bytes of prompts are remembered.
constexpr double kPriorBytes = 256;
constexpr double kRememberedBytes = 1 << 20;

}  // namespace

class EngineRunner::LiveSink final : public OutputSink {
 public:
  LiveSink(EngineRunner* runner, std::string request_id, std::shared_ptr<OutputSink> target)
      : runner_(runner), request_id_(std::move(request_id)), target_(std::move(target)) {}

  bool OnDelta(GenerationDelta delta) override {
    if (!delta.finish.has_value()) return target_->OnDelta(std::move(delta));
    const std::shared_ptr<OutputSink> target = std::move(target_);
    const auto self = runner_->sinks_.find(request_id_);
    runner_->finished_ = std::move(self->second);  // this object lives on until the next request ends
    runner_->sinks_.erase(self);
    return target->OnDelta(std::move(delta));
  }

 private:
  EngineRunner* const runner_;
  const std::string request_id_;
  std::shared_ptr<OutputSink> target_;
};

EngineRunner::EngineRunner(const Options& options, std::unique_ptr<Engine> engine)
    : options_(options), seen_bytes_(kPriorBytes), seen_tokens_(kPriorBytes), engine_(std::move(engine)) {
  first_max_queued_requests_ = engine_->policy().max_queued_requests;
  Publish();
  thread_ = std::thread([this] { Loop(); });
}

EngineRunner::~EngineRunner() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    mail_.Signal();
  }
  thread_.join();
}

absl::StatusOr<std::unique_ptr<EngineRunner::Ticket>> EngineRunner::Admit() {
  // The place is taken first and the drain looked at second, so that WaitUntilIdle after StartDrain misses nobody.
  const int64_t before = live_.fetch_add(1);
  auto ticket = std::make_unique<Ticket>(this);
  if (draining_.load()) {
    refused_draining_.fetch_add(1, std::memory_order_relaxed);
    return absl::UnavailableError("the server is draining and takes no new requests; try another one");
  }
  const int64_t limit = max_live_requests_.load(std::memory_order_relaxed);
  if (before >= limit) {
    refused_full_.fetch_add(1, std::memory_order_relaxed);
    return WithRetryHint(
        absl::ResourceExhaustedError(absl::StrCat("the server is full: ", limit, " requests are running or waiting, the limit")),
        kFullRetryAfter);
  }
  return ticket;
}

absl::Status EngineRunner::AdmitPrompt(Ticket* ticket, int64_t text_bytes, int64_t token_ids) {
  int64_t tokens = token_ids;
  if (text_bytes > 0) {
    MutexLock lock(&rate_mutex_);
    tokens = std::max<int64_t>(1, std::llround(static_cast<double>(text_bytes) * seen_tokens_ / seen_bytes_));
  }
  ticket->prompt_tokens_ = tokens;
  const int64_t waiting = front_door_tokens_.fetch_add(tokens) + waiting_tokens_.load();
  const int64_t limit = max_queued_tokens_.load(std::memory_order_relaxed);
  if (waiting == 0 || waiting + tokens <= limit) return absl::OkStatus();
  refused_tokens_.fetch_add(1, std::memory_order_relaxed);
  return WithRetryHint(
      absl::ResourceExhaustedError(absl::StrCat("the queue is full: ", waiting, " prompt tokens wait and this request has ",
                                                text_bytes > 0 ? "about " : "", tokens, ", the limit is ", limit)),
      kFullRetryAfter);
}

void EngineRunner::SetPromptTokens(Ticket* ticket, int64_t text_bytes, int64_t tokens) {
  front_door_tokens_.fetch_add(tokens - ticket->prompt_tokens_);
  ticket->prompt_tokens_ = tokens;
  if (text_bytes <= 0) return;
  MutexLock lock(&rate_mutex_);
  seen_bytes_ += static_cast<double>(text_bytes);
  seen_tokens_ += static_cast<double>(tokens);
  if (seen_bytes_ > kRememberedBytes) {
    seen_bytes_ /= 2;
    seen_tokens_ /= 2;
  }
}

void EngineRunner::Post(Command command) {
  MutexLock lock(&mutex_);
  mailbox_.push_back(std::move(command));
  idle_ = false;
  mail_.Signal();
}

void EngineRunner::Submit(GenerationRequest request, std::shared_ptr<OutputSink> sink,
                          std::function<void(absl::Status)> on_rejected, Ticket* ticket) {
  // A std::function must be copyable, so the request is held by a pointer instead of being moved into the closure.
  auto shared = std::make_shared<GenerationRequest>(std::move(request));
  const int64_t counted = ticket == nullptr ? 0 : std::exchange(ticket->prompt_tokens_, 0);
  Post([this, shared, counted, sink = std::move(sink), on_rejected = std::move(on_rejected)] {
    arrived_tokens_ += counted;
    std::string id = shared->request_id;
    auto live = std::make_unique<LiveSink>(this, id, sink);
    absl::Status status = engine_->Submit(std::move(*shared), live.get());
    if (status.ok()) {
      sinks_.emplace(std::move(id), std::move(live));
    } else {
      on_rejected(std::move(status));
    }
  });
}

void EngineRunner::Abort(const std::string& request_id, FinishReason reason) {
  Post([this, request_id, reason] { engine_->Abort(request_id, reason); });
}

void EngineRunner::Resume(const std::string& request_id) {
  Post([this, request_id] { engine_->Resume(request_id); });
}

void EngineRunner::SetRatio(const Ratio& ratio, std::optional<int64_t> expected_epoch, EpochDone done) {
  Post([this, ratio, expected_epoch, done = std::move(done)] {
    const absl::StatusOr<int64_t> epoch = engine_->SetRatio(ratio, expected_epoch);
    Publish();
    done(epoch);
  });
}

void EngineRunner::SetPolicy(PolicyChange change, std::optional<int64_t> expected_epoch, PolicyDone done) {
  Post([this, change = std::move(change), expected_epoch, done = std::move(done)] {
    const absl::StatusOr<int64_t> epoch = engine_->SetPolicy(change, expected_epoch);
    Publish();
    done(epoch, engine_->policy());
  });
}

void EngineRunner::SetBudget(const BudgetChange& change, std::optional<int64_t> expected_epoch, BudgetDone done) {
  Post([this, change, expected_epoch, done = std::move(done)] {
    engine_->SetBudget(change, expected_epoch, [this, done](absl::StatusOr<BudgetResult> result) {
      if (engine_ != nullptr) Publish();
      done(std::move(result));
    });
    Publish();
  });
}

void EngineRunner::SetTenants(std::vector<TenantQuota> quotas, std::function<void(absl::Status)> done) {
  Post([this, quotas = std::move(quotas), done = std::move(done)] {
    absl::Status status = engine_->SetTenants(quotas);
    Publish();
    if (done != nullptr) done(std::move(status));
  });
}

void EngineRunner::StartDrain() { draining_.store(true); }

bool EngineRunner::WaitUntilIdle(absl::Time deadline) {
  MutexLock lock(&mutex_);
  while (!idle_ || live_.load() != 0) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    // Tickets go without a signal, to stay free of the mutex; the snapshots' rhythm bounds the delay.
    idle_changed_.WaitWithTimeout(&mutex_, std::min(left, kSnapshotInterval / 10));
  }
  return true;
}

EngineRunner::Pulse EngineRunner::pulse() const {
  MutexLock lock(&mutex_);
  return Pulse{stats_.published, !idle_};
}

EngineStats EngineRunner::Stats() const {
  MutexLock lock(&mutex_);
  return stats_;
}

void EngineRunner::Publish() {
  MutexLock lock(&mutex_);
  stats_ = engine_->stats();  // copies into the vectors already there
  stats_.rejections[static_cast<size_t>(RejectReason::kQueueFull)] += refused_full_.load(std::memory_order_relaxed);
  stats_.rejections[static_cast<size_t>(RejectReason::kQueueTokens)] += refused_tokens_.load(std::memory_order_relaxed);
  stats_.rejections[static_cast<size_t>(RejectReason::kDraining)] += refused_draining_.load(std::memory_order_relaxed);
  waiting_tokens_.store(stats_.waiting_tokens);
  front_door_tokens_.fetch_sub(std::exchange(arrived_tokens_, 0));
  max_queued_tokens_.store(stats_.policy.max_queued_tokens, std::memory_order_relaxed);
  max_live_requests_.store(
      std::max<int64_t>(1, options_.max_live_requests + stats_.policy.max_queued_requests - first_max_queued_requests_),
      std::memory_order_relaxed);
  if (mailbox_.empty() && !engine_->HasRequests() && !idle_) {
    idle_ = true;
    idle_changed_.SignalAll();
  }
}

bool EngineRunner::TakeMail(bool may_sleep, std::vector<Command>& commands) {
  MutexLock lock(&mutex_);
  if (may_sleep && mailbox_.empty() && !stop_) {
    // NextWakeup is on the engine's clock, of which the snapshot says how late it was a moment ago.
    const absl::Duration sleep = std::min(engine_->NextWakeup() - stats_.published, kSnapshotInterval);
    if (sleep > absl::ZeroDuration()) mail_.WaitWithTimeout(&mutex_, sleep);
  }
  commands.swap(mailbox_);
  return stop_;
}

void EngineRunner::Loop() {
  std::vector<Command> commands;
  bool worked = true;
  while (true) {
    const bool stop = TakeMail(/*may_sleep=*/!worked, commands);
    for (Command& command : commands) command();
    commands.clear();
    if (stop) break;
    worked = engine_->Step();
    Publish();
  }
  while (!sinks_.empty()) engine_->Abort(std::string(sinks_.begin()->first), FinishReason::kShutdown);
  Publish();
  engine_.reset();  // on this thread, as it may still tell a SetBudget that it will not be done
}

}  // namespace ration
