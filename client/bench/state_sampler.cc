// Layer: client/bench.
#include "client/bench/state_sampler.h"

#include "client/rpc_error.h"

namespace ration {

absl::Status StateSampler::Check(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  v1::ServerState state;
  return FromGrpcStatus(v1::Control::NewStub(channel)->GetState(&context, v1::GetStateRequest(), &state));
}

StateSampler::StateSampler(const std::shared_ptr<grpc::Channel>& channel, absl::Duration interval,
                           Clock::time_point start)
    : stub_(v1::Control::NewStub(channel)), start_(start) {
  request_.set_interval_ms(absl::ToInt64Milliseconds(interval));
  stub_->async()->WatchState(&context_, &request_, this);
  StartRead(&state_);
  StartCall();
}

StateSampler::~StateSampler() { static_cast<void>(Stop()); }

absl::Status StateSampler::Stop() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!stopping_) {
    stopping_ = true;
    ended_by_itself_ = done_;
    context_.TryCancel();
  }
  changed_.wait(lock, [this] { return done_; });
  if (!ended_by_itself_) return absl::OkStatus();
  return status_.ok() ? absl::UnavailableError("the server ended the stream of its states") : status_;
}

void StateSampler::OnReadDone(bool ok) {
  if (!ok) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  samples_.push_back(MakeSample(state_, seconds, samples_.empty() ? nullptr : &samples_.back()));
  StartRead(&state_);
}

void StateSampler::OnDone(const grpc::Status& status) {
  std::lock_guard<std::mutex> lock(mutex_);
  done_ = true;
  status_ = FromGrpcStatus(status);
  changed_.notify_all();
}

}  // namespace ration
