// Layer: client/bench.
#include "client/bench/generation_stream.h"

#include <utility>

#include "client/rpc_error.h"

namespace ration {

GenerationStream::GenerationStream(Plan plan, RequestRecord record, Clock::time_point start, Listener* listener)
    : plan_(std::move(plan)),
      record_(std::move(record)),
      start_(start),
      listener_(listener),
      may_pause_(plan_.pause > absl::ZeroDuration()) {
  if (plan_.deadline.has_value()) {
    context_.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(*plan_.deadline));
  }
}

void GenerationStream::Start(v1::Generation::Stub& stub) {
  record_.sent_seconds = Now();
  stub.async()->GenerateStream(&context_, &plan_.request, this);
  // Resume reads from outside of a reaction, which gRPC allows only under a hold.
  if (may_pause_) AddHold();
  StartRead(&response_);
  StartCall();
}

void GenerationStream::Resume() {
  StartRead(&response_);
  RemoveHold();
}

void GenerationStream::Interrupt() {
  interrupted_.store(true);
  context_.TryCancel();
}

void GenerationStream::OnReadDone(bool ok) {
  if (!ok) {
    if (may_pause_) RemoveHold();
    may_pause_ = false;
    return;
  }
  prompt_accepted_ = true;
  if (response_.token_ids_size() > 0) TakeTokens(response_.token_ids_size());
  if (response_.has_finish()) record_.finish = std::move(*response_.mutable_finish());
  if (plan_.cancel_after_tokens.has_value() && record_.generated_tokens >= *plan_.cancel_after_tokens &&
      !record_.finish.has_value()) {
    cancelled_on_purpose_ = true;
    context_.TryCancel();
  }
  if (may_pause_ && record_.generated_tokens > 0) {
    may_pause_ = false;
    listener_->OnPaused(this);
    return;
  }
  StartRead(&response_);
}

void GenerationStream::TakeTokens(int64_t count) {
  const double now = Now();
  if (record_.first_token_seconds.has_value()) {
    record_.gaps_seconds.push_back(static_cast<float>(now - record_.last_token_seconds));
  } else {
    record_.first_token_seconds = now;
  }
  record_.last_token_seconds = now;
  record_.generated_tokens += count;
  listener_->OnTokens(count);
}

void GenerationStream::OnDone(const grpc::Status& status) {
  record_.end_seconds = Now();
  record_.status = FromGrpcStatus(status);
  if (record_.status.ok() && !record_.finish.has_value()) {
    record_.status = absl::DataLossError("the stream ended well, but without its finish");
  }
  record_.outcome = OutcomeOf(record_.status);
  listener_->OnEnd(this);
}

Outcome GenerationStream::OutcomeOf(const absl::Status& status) const {
  if (status.ok()) return Outcome::kCompleted;
  if (status.code() == absl::StatusCode::kCancelled) {
    if (cancelled_on_purpose_) return Outcome::kCancelled;
    if (interrupted_.load()) return Outcome::kInterrupted;
  }
  if (prompt_accepted_) return Outcome::kFailed;
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
      return Outcome::kRejected;
    default:
      return Outcome::kFailed;
  }
}

double GenerationStream::Now() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

}  // namespace ration
