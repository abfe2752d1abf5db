// What the tests of Generate and GenerateStream share: pieces, ends, and streams read in the background.
// For one test's thread.
#ifndef RATION_TESTS_INTEGRATION_GENERATION_FIXTURE_H_
#define RATION_TESTS_INTEGRATION_GENERATION_FIXTURE_H_

#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "engine/request.h"
#include "proto/google/rpc/status.pb.h"
#include "tests/integration/puppet_server.h"

namespace ration {

// A deadline that passes during the test, though not before a request has reached the engine on a machine that is busy.
inline constexpr absl::Duration kSoon = absl::Seconds(2);

inline GenerationDelta FirstPiece(int64_t prompt_tokens) {
  GenerationDelta delta;
  PromptInfo& info = delta.prompt.emplace();
  info.prompt_tokens = prompt_tokens;
  info.seed = 77;
  info.ratio_epoch = 1;
  return delta;
}

inline FinishInfo EndedBy(FinishReason reason) {
  FinishInfo finish;
  finish.reason = reason;
  finish.prompt_tokens = 3;
  finish.generated_tokens = 2;
  finish.kv.peak_kv_bytes = 4096;
  finish.kv.prompt_tokens_per_expert = {2, 1};
  return finish;
}

inline std::optional<double> RetrySeconds(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  if (!details.ParseFromString(status.error_details()) || details.details_size() != 1) return std::nullopt;
  if (details.code() != status.error_code() || details.message() != status.error_message()) return std::nullopt;
  if (!details.details(0).UnpackTo(&retry)) return std::nullopt;
  return retry.retry_delay().seconds() + retry.retry_delay().nanos() * 1e-9;
}

// A stream read by a thread of its own.
class BackgroundStream {
 public:
  BackgroundStream(v1::Generation::Stub& stub, v1::GenerateRequest request)
      : thread_([this, &stub, request = std::move(request)] { result_ = ReadStream(stub, request, &call_); }) {}
  ~BackgroundStream() {
    if (thread_.joinable()) thread_.join();
  }
  const StreamResult& Join() {
    thread_.join();
    return result_;
  }
  void Cancel() { call_.TryCancel(); }

 private:
  grpc::ClientContext call_;
  StreamResult result_;
  std::thread thread_;
};

}  // namespace ration

#endif  // RATION_TESTS_INTEGRATION_GENERATION_FIXTURE_H_
