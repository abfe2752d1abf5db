// The gRPC service ration.v1.Control, on gRPC's callback API: no thread waits for a call, and all watches share one timer thread.
// Works on raw bytes, as GenerationService does (wire_format.h says why).
// Layer: server. Thread-safe.
#ifndef RATION_SERVER_CONTROL_SERVICE_H_
#define RATION_SERVER_CONTROL_SERVICE_H_

#include <functional>
#include <memory>
#include <vector>

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/engine_runner.h"
#include "engine/router/expert_spec.h"
#include "proto/control.grpc.pb.h"
#include "server/control_log.h"
#include "server/security/access_control.h"
#include "server/timer_thread.h"

namespace ration {

namespace internal {
using V1Control = v1::Control;
using RawControlService = V1Control::WithRawCallbackMethod_GetState<
    V1Control::WithRawCallbackMethod_WatchState<V1Control::WithRawCallbackMethod_SetRatio<V1Control::WithRawCallbackMethod_SetBudget<
        V1Control::WithRawCallbackMethod_SetPolicy<V1Control::WithRawCallbackMethod_Drain<V1Control::Service>>>>>>;
}  // namespace internal

class ControlChange;
class WatchReactor;

class ControlService final : public internal::RawControlService {
 public:
  struct Options {
    EngineRunner* runner = nullptr;         // must outlive the service, as must
    const AccessControl* access = nullptr;  // this, which is asked for ROLE_CONTROL before every call
    std::shared_ptr<const ControlLog> log;  // of every call that changes something
    ExpertSpec experts;
    std::vector<int64_t> bytes_per_token;  // of each expert, in all layers
    std::function<void()> start_drain;     // idempotent; must not block
    std::function<bool()> draining;        // whether a drain has begun
  };
  explicit ControlService(Options options);
  ~ControlService() override;

  // Ends every watch, with UNAVAILABLE, and every one that would begin from now on: the server ends.
  void EndWatches();

  grpc::ServerUnaryReactor* GetState(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchState(grpc::CallbackServerContext* call,
                                                         const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* SetRatio(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* SetBudget(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* SetPolicy(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;

 private:
  // The beginning of every call: checks the caller's role, parses the request.
  absl::Status Open(const grpc::CallbackServerContext& call, const grpc::ByteBuffer& bytes, google::protobuf::Message* request,
                    std::string* tenant = nullptr) const;
  // The same, of a call that changes something; what it returns has ended if that failed.
  std::shared_ptr<ControlChange> OpenChange(const char* method, const grpc::CallbackServerContext& call, const grpc::ByteBuffer& bytes,
                                            grpc::ByteBuffer* response, google::protobuf::Message* request) const;
  v1::ServerState State() const;

  const Options options_;
  const absl::Time started_ = absl::Now();
  Mutex mutex_;
  std::vector<std::weak_ptr<WatchReactor>> watches_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  TimerThread timer_;  // last: its functions use what is above
};

}  // namespace ration

#endif  // RATION_SERVER_CONTROL_SERVICE_H_
