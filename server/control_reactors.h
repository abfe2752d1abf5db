// The two shapes of a control call: one answer that comes when it comes (PendingCall), and states in a rhythm until somebody ends it
// (WatchReactor).
// Layer: server. Thread-safe: gRPC's threads, the engine thread and the timer thread touch them; no gRPC operation is started while
// the mutex is held.
//
// Invariants: (1) Finish is called exactly once. (2) A watch has at most one write outstanding, and none after Finish: a client that
// reads slowly misses states, it does not queue them. (3) gRPC holds a reference until OnDone.
#ifndef RATION_SERVER_CONTROL_REACTORS_H_
#define RATION_SERVER_CONTROL_REACTORS_H_

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "server/timer_thread.h"

namespace ration {

class PendingCall final : public grpc::ServerUnaryReactor {
 public:
  // `response` is gRPC's, valid until Finish.
  static std::shared_ptr<PendingCall> Create(grpc::ByteBuffer* response);

  // Each does nothing if the call has ended, say because the client went away.
  void Answer(const google::protobuf::Message& message);
  void End(const absl::Status& status);
  // End, for the start of a call.
  grpc::ServerUnaryReactor* Refuse(const absl::Status& status);
  bool ended() const;

  void OnCancel() override;
  void OnDone() override;

 private:
  explicit PendingCall(grpc::ByteBuffer* response) : response_(response) {}
  bool Claim();  // whether the caller is the one to finish the call

  mutable Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<PendingCall> self_;  // gRPC's reference
};

class WatchReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public std::enable_shared_from_this<WatchReactor> {
 public:
  // `state` makes the next message, on any thread; it and `timer` must outlive the call.
  static std::shared_ptr<WatchReactor> Create(std::function<grpc::ByteBuffer()> state, TimerThread* timer);

  // Sends a state now and then every `interval`.
  void Begin(absl::Duration interval);
  // Ends the call, once a write that is under way has ended.
  void End(absl::Status status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  WatchReactor(std::function<grpc::ByteBuffer()> state, TimerThread* timer) : state_(std::move(state)), timer_(timer) {}
  void Tick(absl::Time now);

  const std::function<grpc::ByteBuffer()> state_;
  TimerThread* const timer_;
  absl::Duration interval_;  // constant after Begin

  Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finish_called_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer message_;  // the one being written; owned by whoever set writing_

  std::shared_ptr<WatchReactor> self_;  // gRPC's reference
};

}  // namespace ration

#endif  // RATION_SERVER_CONTROL_REACTORS_H_
