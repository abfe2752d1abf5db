// Watches the server's state through its control API while a run lasts.
// Layer: client/bench. Thread-safe.
#ifndef RATION_CLIENT_BENCH_STATE_SAMPLER_H_
#define RATION_CLIENT_BENCH_STATE_SAMPLER_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/bench/timeline.h"
#include "proto/control.grpc.pb.h"

namespace ration {

class StateSampler final : private grpc::ClientReadReactor<v1::ServerState> {
 public:
  using Clock = std::chrono::steady_clock;

  // Asks once, to see whether a control API answers there.
  static absl::Status Check(const std::shared_ptr<grpc::Channel>& channel);

  // Samples every `interval` from now on; their seconds count from `start`.
  StateSampler(const std::shared_ptr<grpc::Channel>& channel, absl::Duration interval, Clock::time_point start);
  ~StateSampler() override;

  // Ends the watching. OK, or why it had ended by itself before.
  absl::Status Stop();
  // After Stop.
  const std::vector<StateSample>& samples() const { return samples_; }

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const std::unique_ptr<v1::Control::Stub> stub_;
  const Clock::time_point start_;
  grpc::ClientContext context_;
  v1::WatchStateRequest request_;
  v1::ServerState state_;
  std::vector<StateSample> samples_;  // of the reactions, one at a time, until done_

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  bool stopping_ = false;
  bool done_ = false;
  bool ended_by_itself_ = false;
  absl::Status status_;
};

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_STATE_SAMPLER_H_
