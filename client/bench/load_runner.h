// Runs a workload against a server: sends each request at its time (open loop) or whenever one of N slots is free
// (closed loop), and collects the records. One thread decides; hundreds of streams are open without a thread each. An
// open loop is never held back by slow responses, and latencies count from the intended time, so that a stall of the
// server shows in every request that arrived during it.
// Layer: client/bench. Thread rule: Run on one thread; Stop from
// any.
#ifndef RATION_CLIENT_BENCH_LOAD_RUNNER_H_
#define RATION_CLIENT_BENCH_LOAD_RUNNER_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <queue>
#include <random>
#include <unordered_set>
#include <vector>

#include <grpcpp/channel.h>

#include "absl/time/time.h"
#include "client/bench/generation_stream.h"
#include "client/bench/prompt_source.h"
#include "client/bench/request_record.h"
#include "client/bench/workload.h"

namespace ration {

struct LoadOptions {
  std::optional<int64_t> concurrency;                  // >= 1: closed loop; absent: open loop
  absl::Duration duration = absl::InfiniteDuration();  // nothing is sent after it; what runs then is waited for
  bool ignore_eos = true;
  float temperature = 0;
  std::optional<int64_t> time_limit_ms;
  std::optional<int32_t> priority;
  std::optional<double> kv_floor;
  double cancel_share = 0;  // [0, 1], of the requests: cancelled after a random number of tokens
  double slow_share = 0;    // [0, 1], of the requests: do not read for `slow_pause` after the first token
  absl::Duration slow_pause = absl::Seconds(2);
  uint64_t seed = 0;
};

struct LoadProgress {
  double seconds = 0;
  int64_t sent = 0;
  int64_t in_flight = 0;
  int64_t completed = 0;
  int64_t not_completed = 0;
  int64_t tokens = 0;
};

class LoadRunner final : private GenerationStream::Listener {
 public:
  using Clock = GenerationStream::Clock;

  // `slow_channel` carries the slow readers, whose unread messages would otherwise hold up everybody on a shared
  // connection.
  LoadRunner(std::shared_ptr<grpc::Channel> channel, std::shared_ptr<grpc::Channel> slow_channel,
             const LoadOptions& options, Workload* workload, PromptSource* prompts);
  ~LoadRunner() override;

  // Returns when everything sent has ended. Calls `on_progress` a few times a second on this thread. REQUIRES: called
  // once.
  void Run(const std::function<void(const LoadProgress&)>& on_progress);
  // Sends nothing more and interrupts what runs; Run returns soon. May be called before Run.
  void Stop();

  Clock::time_point start() const { return start_; }
  // After Run.
  std::vector<RequestRecord>& records() { return records_; }
  double seconds() const { return seconds_; }  // that the run took
  bool stopped() const;

 private:
  struct Pause {
    Clock::time_point until;
    GenerationStream* stream;
    bool operator>(const Pause& other) const { return until > other.until; }
  };

  void OnTokens(int64_t tokens) override;
  void OnPaused(GenerationStream* stream) override;
  void OnEnd(GenerationStream* stream) override;

  // Both return whether anything more may be sent now or later.
  bool SendDue(double now);
  std::optional<double> NextSendSeconds();
  void Send(const PlannedRequest& planned, double intended_seconds);
  void TakeEnded(std::vector<GenerationStream*> ended);
  void ResumeDue(Clock::time_point now);
  void InterruptAll();
  double SecondsAt(Clock::time_point time) const;
  LoadProgress Progress(double now);

  const std::unique_ptr<v1::Generation::Stub> stub_;
  const std::unique_ptr<v1::Generation::Stub> slow_stub_;
  const LoadOptions options_;
  Workload* const workload_;
  PromptSource* const prompts_;
  const Clock::time_point start_ = Clock::now();
  std::mt19937_64 random_;

  // Of the thread that runs.
  std::optional<PlannedRequest> next_;  // taken from the workload, not yet sent
  bool exhausted_ = false;              // nothing will be sent any more
  bool interrupted_ = false;
  std::priority_queue<double, std::vector<double>, std::greater<double>> free_slots_;  // closed loop: free from when on
  std::unordered_set<GenerationStream*> live_;
  std::vector<RequestRecord> records_;
  int64_t sent_ = 0;
  int64_t completed_ = 0;
  double seconds_ = 0;

  // std::mutex, because the thread sanitiser does not see through the system's absl::Mutex.
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  bool stop_ = false;
  int64_t tokens_ = 0;
  std::vector<GenerationStream*> ended_;
  std::priority_queue<Pause, std::vector<Pause>, std::greater<Pause>> paused_;
};

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_LOAD_RUNNER_H_
