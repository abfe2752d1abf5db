// Invariants: (1) live_ holds exactly the streams that were started and whose OnEnd was not yet taken. (2) In a closed
// loop free_slots_.size() + live_.size() == concurrency.
// One loop: take what ended, send what is due, sleep until the next of both.
// Layer: client/bench.
#include "client/bench/load_runner.h"

#include <algorithm>
#include <utility>

#include "client/rpc_error.h"

namespace ration {
namespace {

constexpr std::chrono::milliseconds kProgressInterval(200);
// What a server that refuses gets as a rest from each slot of a closed loop if it does not say how long.
constexpr double kRefusedPauseSeconds = 0.1;
constexpr double kMaxRefusedPauseSeconds = 5;
// The call's own deadline comes after the request's, for servers that do not answer at all.
constexpr absl::Duration kDeadlineMargin = absl::Seconds(10);

}  // namespace

LoadRunner::LoadRunner(std::shared_ptr<grpc::Channel> channel, std::shared_ptr<grpc::Channel> slow_channel,
                       const LoadOptions& options, Workload* workload, PromptSource* prompts)
    : stub_(v1::Generation::NewStub(std::move(channel))),
      slow_stub_(v1::Generation::NewStub(std::move(slow_channel))),
      options_(options),
      workload_(workload),
      prompts_(prompts),
      random_(options.seed) {
  for (int64_t i = 0; i < options.concurrency.value_or(0); ++i) free_slots_.push(0);
}

LoadRunner::~LoadRunner() = default;

void LoadRunner::Stop() {
  std::lock_guard<std::mutex> lock(mutex_);
  stop_ = true;
  changed_.notify_one();
}

bool LoadRunner::stopped() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return stop_;
}

void LoadRunner::Run(const std::function<void(const LoadProgress&)>& on_progress) {
  Clock::time_point next_progress = Clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    std::vector<GenerationStream*> ended = std::exchange(ended_, {});
    const bool stop = stop_;
    lock.unlock();
    TakeEnded(std::move(ended));
    const Clock::time_point now = Clock::now();
    ResumeDue(now);
    if (stop && !interrupted_) InterruptAll();
    if (!exhausted_) exhausted_ = !SendDue(SecondsAt(now));
    if (exhausted_ && live_.empty()) break;
    if (now >= next_progress) {
      on_progress(Progress(SecondsAt(now)));
      next_progress = now + kProgressInterval;
    }
    Clock::time_point wake = next_progress;
    if (const std::optional<double> next = NextSendSeconds(); next.has_value()) {
      wake = std::min(wake, start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(*next)));
    }
    lock.lock();
    if (!paused_.empty()) wake = std::min(wake, paused_.top().until);
    if (ended_.empty() && stop_ == stop) changed_.wait_until(lock, wake);
  }
  seconds_ = SecondsAt(Clock::now());
  on_progress(Progress(seconds_));
}

bool LoadRunner::SendDue(double now) {
  while (true) {
    if (!next_.has_value()) next_ = workload_->Next();
    if (!next_.has_value()) return false;
    const double end_seconds = absl::ToDoubleSeconds(options_.duration);
    if (options_.concurrency.has_value()) {
      if (now >= end_seconds) return false;
      if (free_slots_.empty() || free_slots_.top() > now) return true;
      const double intended = free_slots_.top();
      free_slots_.pop();
      Send(*next_, intended);
    } else {
      if (next_->arrival_seconds >= end_seconds) return false;
      if (next_->arrival_seconds > now) return true;
      Send(*next_, next_->arrival_seconds);
    }
    next_.reset();
  }
}

std::optional<double> LoadRunner::NextSendSeconds() {
  if (exhausted_ || !next_.has_value()) return std::nullopt;
  // Far arrivals are cut off, because the clock's range is smaller than a double's; the loop wakes up before anyway.
  constexpr double kFarSeconds = 1e8;
  if (!options_.concurrency.has_value()) return std::min(next_->arrival_seconds, kFarSeconds);
  double next = absl::ToDoubleSeconds(options_.duration);
  if (!free_slots_.empty()) next = std::min(next, free_slots_.top());
  return std::min(next, kFarSeconds);
}

void LoadRunner::Send(const PlannedRequest& planned, double intended_seconds) {
  GenerationStream::Plan plan;
  v1::GenerateRequest& request = plan.request;
  prompts_->Fill(planned.prompt_tokens, *request.mutable_token_ids());
  request.mutable_stopping()->set_max_new_tokens(planned.output_tokens);
  request.mutable_stopping()->set_ignore_eos(options_.ignore_eos);
  request.mutable_sampling()->set_temperature(options_.temperature);
  request.mutable_sampling()->set_seed(random_());
  if (options_.priority.has_value()) request.set_priority(*options_.priority);
  if (options_.kv_floor.has_value()) request.set_kv_floor(*options_.kv_floor);
  if (options_.time_limit_ms.has_value()) {
    request.set_time_limit_ms(*options_.time_limit_ms);
    plan.deadline = absl::Milliseconds(*options_.time_limit_ms) + kDeadlineMargin;
  }
  // Drawn for every request, so that the same seed marks the same requests whatever the shares of the other kind.
  std::uniform_real_distribution<double> share(0, 1);
  const bool cancel = share(random_) < options_.cancel_share;
  const bool slow = share(random_) < options_.slow_share;
  const int64_t cancel_after = std::uniform_int_distribution<int64_t>(1, planned.output_tokens)(random_);
  if (cancel) plan.cancel_after_tokens = cancel_after;
  if (slow) plan.pause = options_.slow_pause;

  RequestRecord record;
  record.intended_seconds = intended_seconds;
  record.prompt_tokens = planned.prompt_tokens;
  record.clipped = planned.clipped;
  record.slow_reader = slow;
  auto* stream = new GenerationStream(std::move(plan), std::move(record), start_, this);
  live_.insert(stream);
  ++sent_;
  stream->Start(slow ? *slow_stub_ : *stub_);
}

void LoadRunner::TakeEnded(std::vector<GenerationStream*> ended) {
  for (GenerationStream* stream : ended) {
    RequestRecord& record = stream->record();
    if (record.outcome == Outcome::kCompleted) ++completed_;
    if (options_.concurrency.has_value()) {
      double pause = 0;
      if (record.outcome == Outcome::kRejected) {
        pause = std::min(absl::ToDoubleSeconds(RetryDelay(record.status).value_or(absl::Seconds(kRefusedPauseSeconds))),
                         kMaxRefusedPauseSeconds);
      }
      free_slots_.push(record.end_seconds + std::max(pause, 0.0));
    }
    records_.push_back(std::move(record));
    live_.erase(stream);
    delete stream;
  }
}

void LoadRunner::ResumeDue(Clock::time_point now) {
  while (true) {
    GenerationStream* stream = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (paused_.empty() || (paused_.top().until > now && !stop_)) return;
      stream = paused_.top().stream;
      paused_.pop();
    }
    stream->Resume();  // without the lock: gRPC may run reactions here
  }
}

void LoadRunner::InterruptAll() {
  interrupted_ = true;
  exhausted_ = true;
  // A stream whose OnEnd is queued but not yet taken is still there; cancelling a call that is over does nothing.
  for (GenerationStream* stream : live_) stream->Interrupt();
}

LoadProgress LoadRunner::Progress(double now) {
  LoadProgress progress;
  progress.seconds = now;
  progress.sent = sent_;
  progress.in_flight = static_cast<int64_t>(live_.size());
  progress.completed = completed_;
  progress.not_completed = static_cast<int64_t>(records_.size()) - completed_;
  std::lock_guard<std::mutex> lock(mutex_);
  progress.tokens = tokens_;
  return progress;
}

void LoadRunner::OnTokens(int64_t tokens) {
  std::lock_guard<std::mutex> lock(mutex_);
  tokens_ += tokens;
}

void LoadRunner::OnPaused(GenerationStream* stream) {
  std::lock_guard<std::mutex> lock(mutex_);
  paused_.push({Clock::now() + absl::ToChronoNanoseconds(stream->pause()), stream});
  changed_.notify_one();
}

void LoadRunner::OnEnd(GenerationStream* stream) {
  std::lock_guard<std::mutex> lock(mutex_);
  ended_.push_back(stream);
  changed_.notify_one();
}

double LoadRunner::SecondsAt(Clock::time_point time) const {
  return std::chrono::duration<double>(time - start_).count();
}

}  // namespace ration
