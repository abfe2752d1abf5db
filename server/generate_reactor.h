// One Generate or GenerateStream call from its arrival to its end: takes a place among the live requests, converts the request,
// hands it to the engine, and sends what the engine produces as fast as the client reads it.
// Layer: server. Touched by gRPC's threads (start, write done, cancel, done), the engine thread (OnDelta, rejection) and the
// delivery thread (Deliver); state is guarded by one mutex, and no gRPC operation is started while it is held.
//
// Invariants: (1) Finish is called exactly once. (2) At most one write is outstanding, and none after Finish. (3) The engine holds
// a reference until its last piece, gRPC until OnDone: the object goes with the later of the two. (4) At most
// max_buffered_bytes and one piece wait, beside the one message being written. (5) Every call leaves one line in the request log,
// when the object goes: then both its status and the engine's last word are known.
#ifndef RATION_SERVER_GENERATE_REACTOR_H_
#define RATION_SERVER_GENERATE_REACTOR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "engine/base/mutex.h"
#include "engine/engine_runner.h"
#include "engine/request.h"
#include "server/call_context.h"
#include "server/delivery_thread.h"
#include "server/request_log.h"

namespace ration {

// What both kinds of call share: the way in, and what the engine needs to be told.
class GenerateCall : public OutputSink, public Deliverable, public std::enable_shared_from_this<GenerateCall> {
 protected:
  // `method` is the RPC's name, for the log.
  GenerateCall(CallContext* context, grpc::CallbackServerContext* call, const char* method);
  ~GenerateCall() override;

  // Check the token, admit, parse, check, tokenise, submit. On an error nothing reached the engine. The call's initial metadata has x-request-id and,
  // if a valid one came, traceparent from then on.
  absl::Status Submit(const grpc::ByteBuffer& bytes);
  // The engine refused the request after all. Runs on the engine thread.
  virtual void OnRejected(absl::Status status) = 0;
  // The engine is done with this request, and said so if it ever took it: gives the place among the live requests back.
  void LeaveEngine(const FinishInfo* finish);
  void AbortInEngine();
  // Notes the status that the call ends with, and turns it into gRPC's. By whoever calls Finish.
  grpc::Status FinalStatus(const absl::Status& status);
  // Adds what the engine does not know to a message on its way out.
  void Decorate(v1::GenerateResponse* response);

  CallContext* const context_;
  grpc::CallbackServerContext* const call_;
  std::string request_id_;  // as the client has it; constant after Submit handed the request over
  std::string engine_id_;   // as the engine has it (EngineRequestId); constant likewise

 private:
  absl::Status TrySubmit(const grpc::ByteBuffer& bytes);
  void ReadMetadata();
  void SendIds();

  const absl::Time started_;  // on the context's clock
  // For the log. Each part is written by one thread: what came in before the engine knows of this call, `finish` by the engine's,
  // `status` by the one that finishes the call.
  RequestSummary summary_;
  std::optional<std::string> echo_text_;  // constant after Submit, until Decorate takes it
  // Set before the engine knows of this call; afterwards only the engine thread's.
  std::unique_ptr<EngineRunner::Ticket> ticket_;
};

class GenerateStreamReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>, public GenerateCall {
 public:
  // Starts the call. The reactor owns itself.
  static GenerateStreamReactor* Start(CallContext* context, grpc::CallbackServerContext* call, const grpc::ByteBuffer& request);

  bool OnDelta(GenerationDelta delta) override;
  void Deliver() override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  GenerateStreamReactor(CallContext* context, grpc::CallbackServerContext* call) : GenerateCall(context, call, "GenerateStream") {}
  void OnRejected(absl::Status status) override;
  // Sends the status unless one was sent.
  void FinishOnce(const absl::Status& status);
  // Cuts the call off if its end stays unread for too long.
  void ArmUnreadEndAlarm();

  Mutex mutex_;
  std::vector<GenerationDelta> pieces_ ABSL_GUARDED_BY(mutex_);
  int64_t buffered_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);  // to send when the pieces are
  bool scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finish_called_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer message_;  // the one being written; owned by whoever set writing_

  Mutex call_mutex_;  // keeps call_ valid while the alarm uses it; never taken with mutex_
  bool done_ ABSL_GUARDED_BY(call_mutex_) = false;
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(call_mutex_);

  std::shared_ptr<GenerateCall> self_;  // gRPC's reference, dropped in OnDone; touched by gRPC's threads only
};

class GenerateUnaryReactor final : public grpc::ServerUnaryReactor, public GenerateCall {
 public:
  static GenerateUnaryReactor* Start(CallContext* context, grpc::CallbackServerContext* call, const grpc::ByteBuffer& request,
                                     grpc::ByteBuffer* response);

  bool OnDelta(GenerationDelta delta) override;
  void Deliver() override;
  void OnCancel() override;
  void OnDone() override;

 private:
  GenerateUnaryReactor(CallContext* context, grpc::CallbackServerContext* call, grpc::ByteBuffer* response);
  void OnRejected(absl::Status status) override;
  void FinishOnce(const absl::Status& status);

  Mutex mutex_;
  v1::GenerateResponse collected_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool finish_called_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ByteBuffer* const response_;  // gRPC's; written before Finish

  std::shared_ptr<GenerateCall> self_;  // gRPC's reference, dropped in OnDone; touched by gRPC's threads only
};

}  // namespace ration

#endif  // RATION_SERVER_GENERATE_REACTOR_H_
