#include "engine/engine_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/retry_hint.h"

namespace ration {
namespace {

constexpr absl::Duration kSnapshotInterval = absl::Milliseconds(100);
// About how long a place takes to become free; a guess that spreads the retries.
constexpr absl::Duration kFullRetryAfter = absl::Seconds(1);

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
    : options_(options), engine_(std::move(engine)) {
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
  auto ticket = std::make_unique<Ticket>(&live_);
  if (draining_.load()) {
    refused_draining_.fetch_add(1, std::memory_order_relaxed);
    return absl::UnavailableError("the server is draining and takes no new requests; try another one");
  }
  if (before >= options_.max_live_requests) {
    refused_full_.fetch_add(1, std::memory_order_relaxed);
    return WithRetryHint(absl::ResourceExhaustedError(absl::StrCat("the server is full: ", options_.max_live_requests,
                                                                   " requests are running or waiting, the limit")),
                         kFullRetryAfter);
  }
  return ticket;
}

void EngineRunner::Post(Command command) {
  MutexLock lock(&mutex_);
  mailbox_.push_back(std::move(command));
  idle_ = false;
  mail_.Signal();
}

void EngineRunner::Submit(GenerationRequest request, std::shared_ptr<OutputSink> sink,
                          std::function<void(absl::Status)> on_rejected) {
  // A std::function must be copyable, so the request is held by a pointer instead of being moved into the closure.
  auto shared = std::make_shared<GenerationRequest>(std::move(request));
  Post([this, shared, sink = std::move(sink), on_rejected = std::move(on_rejected)] {
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

EngineStats EngineRunner::Stats() const {
  MutexLock lock(&mutex_);
  return stats_;
}

void EngineRunner::Publish() {
  MutexLock lock(&mutex_);
  stats_ = engine_->stats();  // copies into the vectors already there
  stats_.rejections[static_cast<size_t>(RejectReason::kQueueFull)] += refused_full_.load(std::memory_order_relaxed);
  stats_.rejections[static_cast<size_t>(RejectReason::kDraining)] += refused_draining_.load(std::memory_order_relaxed);
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
}

}  // namespace ration
