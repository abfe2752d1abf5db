// What became of one request, as seen by the client.
// Layer: client/bench. Plain data.
#ifndef RATION_CLIENT_BENCH_REQUEST_RECORD_H_
#define RATION_CLIENT_BENCH_REQUEST_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/generation.pb.h"

namespace ration {

enum class Outcome {
  kCompleted,    // ended by itself
  kRejected,     // refused before it began
  kFailed,       // ended by an error, a time limit included
  kCancelled,    // by us, on purpose (--cancel_share)
  kInterrupted,  // by the end of the run (Ctrl-C)
};

// All times in seconds since the start of the run.
struct RequestRecord {
  Outcome outcome = Outcome::kFailed;
  absl::Status status;  // of the call
  bool clipped = false;
  bool slow_reader = false;  // paused reading on purpose: its times say nothing about the server

  double intended_seconds = 0;  // when it should have been sent; latencies count from here
  double sent_seconds = 0;
  std::optional<double> first_token_seconds;
  double last_token_seconds = 0;
  double end_seconds = 0;
  std::vector<float> gaps_seconds;  // between messages that carry tokens

  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;  // received
  std::optional<v1::Finish> finish;
};

}  // namespace ration

#endif  // RATION_CLIENT_BENCH_REQUEST_RECORD_H_
