#include "server/control_reactors.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/time/clock.h"
#include "server/status_util.h"
#include "server/wire_format.h"

namespace ration {

std::shared_ptr<PendingCall> PendingCall::Create(grpc::ByteBuffer* response) {
  std::shared_ptr<PendingCall> call(new PendingCall(response));
  call->self_ = call;
  return call;
}

bool PendingCall::Claim() {
  MutexLock lock(&mutex_);
  return !std::exchange(ended_, true);
}

bool PendingCall::ended() const {
  MutexLock lock(&mutex_);
  return ended_;
}

void PendingCall::Answer(const google::protobuf::Message& message) {
  if (!Claim()) return;
  *response_ = SerializeMessage(message);
  Finish(grpc::Status::OK);
}

void PendingCall::End(const absl::Status& status) {
  if (Claim()) Finish(ToGrpcStatus(status));
}

grpc::ServerUnaryReactor* PendingCall::Refuse(const absl::Status& status) {
  End(status);
  return this;
}

void PendingCall::OnCancel() { End(absl::CancelledError("the client went away")); }

void PendingCall::OnDone() { std::shared_ptr<PendingCall> self = std::move(self_); }

std::shared_ptr<WatchReactor> WatchReactor::Create(std::function<grpc::ByteBuffer()> state, TimerThread* timer) {
  std::shared_ptr<WatchReactor> watch(new WatchReactor(std::move(state), timer));
  watch->self_ = watch;
  return watch;
}

void WatchReactor::Begin(absl::Duration interval) {
  interval_ = interval;
  Tick(absl::Now());
}

void WatchReactor::Tick(absl::Time now) {
  bool write = false;
  {
    MutexLock lock(&mutex_);
    if (finish_called_ || end_.has_value()) return;
    write = !std::exchange(writing_, true);
  }
  if (write) {
    message_ = state_();
    StartWrite(&message_);
  }
  const absl::Time next = std::max(now + interval_, absl::Now());  // no catching up after a pause of the machine
  timer_->At(next, [weak = weak_from_this(), next] {
    if (const std::shared_ptr<WatchReactor> watch = weak.lock()) watch->Tick(next);
  });
}

void WatchReactor::End(absl::Status status) {
  {
    MutexLock lock(&mutex_);
    if (!end_.has_value()) end_ = std::move(status);
    if (writing_ || finish_called_) return;  // OnWriteDone does it
    finish_called_ = true;
    status = *end_;
  }
  Finish(ToGrpcStatus(status));
}

void WatchReactor::OnWriteDone(bool ok) {
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok && !end_.has_value()) end_ = absl::CancelledError("the client went away");
    if (!end_.has_value() || finish_called_) return;
    finish_called_ = true;
    status = *end_;
  }
  Finish(ToGrpcStatus(status));
}

void WatchReactor::OnCancel() { End(absl::CancelledError("the client went away")); }

void WatchReactor::OnDone() { std::shared_ptr<WatchReactor> self = std::move(self_); }

}  // namespace ration
