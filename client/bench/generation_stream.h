// One streaming request, asynchronous: reads as messages come and writes down when. No thread waits for it.
// Layer: client/bench. Reactions run on gRPC's threads, one at a time; `record` is the owner's again after OnEnd.
#ifndef RATION_CLIENT_BENCH_GENERATION_STREAM_H_
#define RATION_CLIENT_BENCH_GENERATION_STREAM_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include "absl/time/time.h"
#include "client/bench/request_record.h"
#include "proto/generation.grpc.pb.h"

namespace ration {

class GenerationStream final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  using Clock = std::chrono::steady_clock;

  struct Plan {
    v1::GenerateRequest request;
    std::optional<int64_t> cancel_after_tokens;  // cancel when so many were received
    absl::Duration pause;                        // after the first token, how long not to read; 0: not at all
    std::optional<absl::Duration> deadline;      // of the call
  };

  // Told from gRPC's threads.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnTokens(int64_t tokens) = 0;
    // Reading is paused; somebody must call Resume.
    virtual void OnPaused(GenerationStream* stream) = 0;
    // The last thing a stream does: it may be deleted now.
    virtual void OnEnd(GenerationStream* stream) = 0;
  };

  GenerationStream(Plan plan, RequestRecord record, Clock::time_point start, Listener* listener);

  void Start(v1::Generation::Stub& stub);
  // After OnPaused, once.
  void Resume();
  // Ends the call because the run ends. Any thread, before OnEnd.
  void Interrupt();

  RequestRecord& record() { return record_; }
  absl::Duration pause() const { return plan_.pause; }

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  void TakeTokens(int64_t count);
  Outcome OutcomeOf(const absl::Status& status) const;
  double Now() const;

  Plan plan_;
  RequestRecord record_;
  const Clock::time_point start_;
  Listener* const listener_;
  grpc::ClientContext context_;
  v1::GenerateResponse response_;
  bool may_pause_ = false;
  bool prompt_accepted_ = false;
  bool cancelled_on_purpose_ = false;
  std::atomic<bool> interrupted_{false};
};

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_GENERATION_STREAM_H_
