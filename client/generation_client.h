// A client of the Generation service: one method a call, blocking, errors as absl::Status.
// Not here: how results are shown (commands.h).
// Layer: client, on top of proto. Thread-safe.
#ifndef RATION_CLIENT_GENERATION_CLIENT_H_
#define RATION_CLIENT_GENERATION_CLIENT_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/transport.h"
#include "proto/generation.grpc.pb.h"

namespace ration {

// Lets another thread end a call. May be used for one call after another, one at a time. Thread-safe.
class Cancellation {
 public:
  // Ends the call in progress, which then returns Cancelled, and every call started with this object from now on. Returns whether
  // a call was in progress.
  bool Cancel();
  // Calls can be made again. REQUIRES: no call is in progress.
  void Reset();
  bool cancelled() const;

 private:
  friend class GenerationClient;
  friend class ControlClient;
  void Begin(grpc::ClientContext* context);
  void End();

  // Guards both below. std::mutex, because the thread sanitiser does not see through the system's absl::Mutex.
  mutable std::mutex mutex_;
  bool cancelled_ = false;
  grpc::ClientContext* context_ = nullptr;  // of the call in progress
};

class GenerationClient {
 public:
  // Talks to `target`, HOST:PORT. Does not wait for the server: calls fail with Unavailable as long as it cannot be reached.
  static std::unique_ptr<GenerationClient> Create(const std::string& target, const Transport& transport = Transport());
  explicit GenerationClient(std::shared_ptr<grpc::Channel> channel);

  // In every call `cancellation` may be null. Errors are the server's (see proto/generation.proto), Unavailable if it cannot be
  // reached or goes away, Cancelled after a cancellation. RetryDelay (rpc_error.h) tells when it is worth trying again.

  // Everything at once, when the request has ended.
  absl::StatusOr<v1::GenerateResponse> Generate(const v1::GenerateRequest& request, Cancellation* cancellation = nullptr);

  // Calls `on_message` with each piece as it comes, on this thread. OK once the piece with `finish` was delivered. If
  // `on_message` returns false, the request is cancelled on the server and the result is Cancelled.
  absl::Status GenerateStream(const v1::GenerateRequest& request,
                              absl::FunctionRef<bool(const v1::GenerateResponse&)> on_message,
                              Cancellation* cancellation = nullptr);

  absl::Status Abort(absl::Span<const std::string> request_ids, Cancellation* cancellation = nullptr);
  absl::StatusOr<v1::TokenizeResponse> Tokenize(absl::string_view text, bool add_special_tokens,
                                                Cancellation* cancellation = nullptr);
  absl::StatusOr<std::string> Detokenize(absl::Span<const int32_t> ids, bool skip_special_tokens,
                                         Cancellation* cancellation = nullptr);
  absl::StatusOr<v1::GetModelInfoResponse> GetModelInfo(Cancellation* cancellation = nullptr);

 private:
  class Call;

  std::unique_ptr<v1::Generation::Stub> stub_;
};

}  // namespace ration

#endif  // RATION_CLIENT_GENERATION_CLIENT_H_
